//! A verb writes its file to a free path or over its own earlier result, never over anything else.

use anyhow::Result;
use rpo_files::failure::{BadInput, OrBadInput};
use rpo_files::{refuse_unless_plain, same_file};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Bytes read of a file to recognise it.
const START: u64 = 1 << 16;

/// Refuses `path`, given by the argument `name`, if it holds something that the verb did not write: `ours` recognises results
/// by how they begin. An empty file counts as free. `inputs` are refused even if an earlier call wrote them.
///
/// # Errors
/// [`BadInput`] with the file and what it holds.
pub(super) fn refuse_foreign<'a>(
    name: &str,
    path: &Path,
    inputs: impl IntoIterator<Item = &'a Path>,
    ours: impl Fn(&[u8]) -> bool,
) -> Result<()> {
    refuse_unless_plain(path).or_bad_input(name)?;
    if !path.exists() {
        return Ok(());
    }
    if inputs.into_iter().any(|input| same_file(input, path)) {
        return Err(BadInput::new(format!(
            "{name} {}: this is a file that is read\n  hint: name another one",
            path.display()
        )));
    }
    let mut start = Vec::new();
    let file = File::open(path).or_bad_input(name)?;
    file.take(START)
        .read_to_end(&mut start)
        .or_bad_input(format!("{name} {}", path.display()))?;
    if start.is_empty() || ours(&start) {
        return Ok(());
    }
    Err(BadInput::new(format!(
        "{name} {}: there is a file already that is no earlier result of this command, and nothing is overwritten\n  hint: name another one, or remove it",
        path.display()
    )))
}

/// Whether `start` has `text` in it.
pub(super) fn holds(start: &[u8], text: &str) -> bool {
    start.windows(text.len()).any(|w| w == text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_earlier_result_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("result");
        let said = |inputs: &[&Path]| {
            let ours = |start: &[u8]| holds(start, "OURS");
            refuse_foreign("--out", &path, inputs.iter().copied(), ours)
                .err()
                .map(|e| e.to_string())
        };
        assert_eq!(said(&[]), None);
        for (text, fine) in [("", true), ("it is OURS", true), ("a photo", false)] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(said(&[]).is_none(), fine, "{text}");
            assert!(said(&[&path]).unwrap().contains("is read"), "{text}");
        }
        assert!(said(&[]).unwrap().contains("nothing is overwritten"));
    }
}
