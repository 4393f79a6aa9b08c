//! Names of pictures that are free.

use anyhow::Result;
use rpo_experiment::plan::folder_name;
use rpo_files::failure::OrBadInput;
use rpo_files::refuse_unless_plain;
use std::path::{Path, PathBuf};

/// `text` as a part of a file's name, of at most `most` bytes: file systems limit names to 255.
pub(super) fn part(text: &str, most: usize) -> String {
    let plain = folder_name(text);
    let end = plain.floor_char_boundary(most);
    plain[..end].to_owned()
}

/// A path in `folder` for a file with these contents: `stem.png`, or where another file has it, `stem-2.png` and so on. A file that
/// is there with the same contents is the file itself.
///
/// # Errors
/// [`rpo_files::failure::BadInput`] if what is there is no plain file.
pub(super) fn free(folder: &Path, stem: &str, bytes: &[u8]) -> Result<PathBuf> {
    for n in 1.. {
        let path = match n {
            1 => folder.join(format!("{stem}.png")),
            n => folder.join(format!("{stem}-{n}.png")),
        };
        refuse_unless_plain(&path).or_bad_input("--out")?;
        if !path.exists() || std::fs::read(&path).is_ok_and(|there| there == bytes) {
            return Ok(path);
        }
    }
    unreachable!("numbers do not end")
}

#[cfg(test)]
mod tests {
    use super::{free, part};

    #[test]
    fn names_have_few_bytes() {
        assert_eq!(part("a [v] dog", 60), "a--v--dog");
        assert_eq!(part(&"ü".repeat(70), 61), "ü".repeat(30));
        assert_eq!(part("", 60), "unnamed");
    }

    #[test]
    fn nothing_is_overwritten_and_nothing_is_doubled() {
        let folder = tempfile::tempdir().unwrap();
        let name = |bytes: &[u8]| {
            let path = free(folder.path(), "a", bytes).unwrap();
            std::fs::write(&path, bytes).unwrap();
            path.file_name().unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(name(b"1"), "a.png");
        assert_eq!(name(b"1"), "a.png");
        assert_eq!(name(b"2"), "a-2.png");
        assert_eq!(name(b"3"), "a-3.png");
        assert_eq!(name(b"2"), "a-2.png");
    }
}
