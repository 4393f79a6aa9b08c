//! Drawn pictures on the disk, one ordinary PNG file each, with a hash of itself appended.

use super::turns::Turns;
use anyhow::{Context, Result, bail};
use image::{ImageFormat, RgbImage};
use rpo_data::picture::png_bytes;
use rpo_files::{AtPath, FileError, look_again, sweep_abandoned, write_via};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Separates the PNG from the hash; PNG readers stop before it.
const MARK: &[u8] = b"rpo picture 1\n";

/// Length of a key in characters.
pub(super) const KEY: usize = 32;

/// A folder of pictures by key.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

/// Contents of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Files.
    pub files: usize,
    /// Their total bytes.
    pub bytes: u64,
}

impl Store {
    /// The store in `folder`, which is created with the first picture.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    fn path(&self, key: &str) -> PathBuf {
        // A folder of a million files is slow on many file systems.
        self.folder.join(&key[..2]).join(format!("{key}.png"))
    }

    /// The picture of a key, if it exists.
    ///
    /// # Errors
    /// If the file is not as it was written.
    pub(super) fn get(&self, key: &str) -> Result<Option<RgbImage>> {
        let path = self.path(key);
        let bytes = match fs::read(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.reading(&path)?,
        };
        let picture = whole(&bytes).with_context(|| path.display().to_string())?;
        // Time of last use, for pruning; a read-only store can still be read.
        let _ = File::options()
            .append(true)
            .open(&path)
            .and_then(|f| f.set_modified(SystemTime::now()));
        Ok(Some(picture))
    }

    /// Stores a picture.
    ///
    /// # Errors
    /// I/O errors, by path.
    pub(super) fn put(&self, key: &str, picture: &RgbImage) -> Result<(), FileError> {
        let mut bytes = png_bytes(picture);
        let hash = blake3::hash(&bytes);
        bytes.extend_from_slice(MARK);
        bytes.extend_from_slice(hash.as_bytes());
        let path = self.path(key);
        // Unfinished files are all in one folder, where `sweep` finds them.
        write_via(&self.folder, &path, &bytes).writing(&path)
    }

    /// Removes unfinished files and claims of programs that were killed.
    pub fn sweep(&self) {
        sweep_abandoned(&self.folder);
        self.turns().sweep();
    }

    /// Sees pictures of these keys that other machines have put since this one missed them.
    pub(super) fn look_again<'a>(&self, keys: impl Iterator<Item = &'a str>) {
        let folders: BTreeSet<PathBuf> = keys.map(|key| self.folder.join(&key[..2])).collect();
        folders.iter().for_each(|folder| look_again(folder));
    }

    /// Claims on pictures that are to be drawn.
    pub(super) fn turns(&self) -> Turns {
        Turns::new(self.folder.join(".rpo-drawing"))
    }

    /// Counts the store's files, and with `unused` removes those last used longer ago; returns both counts. Files with other names
    /// are not ours and are ignored.
    ///
    /// # Errors
    /// I/O errors, by path; a missing store counts as empty.
    pub fn look(&self, unused: Option<Duration>) -> Result<(Held, Held)> {
        let (mut held, mut removed) = (Held::default(), Held::default());
        let now = SystemTime::now();
        for path in self.files()? {
            // Another process may have pruned meanwhile.
            let about = match fs::metadata(&path) {
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                about => about.reading(&path)?,
            };
            let age = about
                .modified()
                .ok()
                .and_then(|t| now.duration_since(t).ok())
                .unwrap_or_default();
            held.files += 1;
            held.bytes += about.len();
            if unused.is_some_and(|unused| age > unused) {
                match fs::remove_file(&path) {
                    Err(e) if e.kind() == ErrorKind::NotFound => {}
                    removed => removed.removing(&path)?,
                }
                removed.files += 1;
                removed.bytes += about.len();
            }
        }
        Ok((held, removed))
    }

    fn files(&self) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for path in entries(&self.folder)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.len() == 2 && hexadecimal(&name) && path.is_dir() {
                let ours = |p: &PathBuf| {
                    let stem = p.file_stem().unwrap_or_default().to_string_lossy();
                    is_ours(p, "png") && stem.starts_with(&*name) && is_marked(p)
                };
                found.extend(entries(&path)?.into_iter().filter(ours));
            } else if is_ours(&path, "safetensors") && begins_as_0_1_0_wrote(&path) {
                // Files of version 0.1.0, which are no longer read.
                found.push(path);
            }
        }
        Ok(found)
    }
}

fn is_ours(path: &Path, ending: &str) -> bool {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    stem.len() == KEY
        && hexadecimal(&stem)
        && path.extension().is_some_and(|e| e == ending)
        && fs::symlink_metadata(path).is_ok_and(|about| about.is_file())
}

/// Whether a picture ends as [`Store::put`] writes it: other programs also name files by hashes.
fn is_marked(path: &Path) -> bool {
    let end = MARK.len() + blake3::OUT_LEN;
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::End(-(end as i64)))?;
        file.read_to_end(&mut bytes)
    });
    read.is_ok() && bytes.starts_with(MARK)
}

/// Whether a file of tensors has the metadata of version 0.1.0's cache.
fn begins_as_0_1_0_wrote(path: &Path) -> bool {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(64).read_to_end(&mut start));
    read.is_ok() && String::from_utf8_lossy(&start).contains("{\"__metadata__\":{\"rpo\":")
}

fn hexadecimal(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.reading(folder)?,
    };
    let path = |entry: std::io::Result<fs::DirEntry>| Ok(entry?.path());
    entries.map(path).collect()
}

/// The picture in a file of the store.
fn whole(bytes: &[u8]) -> Result<RgbImage> {
    let end = bytes.len().saturating_sub(MARK.len() + blake3::OUT_LEN);
    let (png, behind) = bytes.split_at(end);
    let hash = behind.strip_prefix(MARK);
    if hash.is_none_or(|hash| hash != blake3::hash(png).as_bytes()) {
        bail!("it is not as it was written");
    }
    Ok(image::load_from_memory_with_format(png, ImageFormat::Png)?.to_rgb8())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> String {
        format!("{n:02x}").repeat(KEY / 2)
    }

    #[test]
    fn pictures_come_back_or_are_found_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("cache"));
        assert!(store.get(&key(1)).unwrap().is_none());
        let half = store.folder.join(".rpo-unfinished-abcdef");
        rpo_files::write(&half, b"half").unwrap();
        store.sweep();
        assert!(cfg!(not(unix)) || !half.exists());
        let picture = RgbImage::from_fn(5, 3, |x, y| image::Rgb([x as u8, y as u8, 200]));
        store.put(&key(1), &picture).unwrap();
        assert_eq!(store.get(&key(1)).unwrap(), Some(picture));
        let path = store.path(&key(1));
        // An ordinary decoder reads it.
        assert!(image::open(&path).is_ok());
        let bytes = fs::read(&path).unwrap();
        for place in [30, bytes.len() / 2, bytes.len() - 1] {
            let mut other = bytes.clone();
            other[place] ^= 4;
            fs::write(&path, other).unwrap();
            assert!(store.get(&key(1)).is_err(), "{place}");
        }
        let inverted = RgbImage::from_pixel(5, 3, image::Rgb([9; 3]));
        fs::write(&path, png_bytes(&inverted)).unwrap();
        let error = format!("{:#}", store.get(&key(1)).unwrap_err());
        assert!(
            error.contains(".png") && error.contains("not as it was"),
            "{error}"
        );
        fs::write(&path, "").unwrap();
        assert!(store.get(&key(1)).is_err());
    }

    #[test]
    fn only_what_was_put_there_is_pruned() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().to_owned());
        assert_eq!(store.look(None).unwrap().0, Held::default());
        for n in 0..3 {
            store.put(&key(n), &RgbImage::new(2, 2)).unwrap();
        }
        let old = "12345678{\"__metadata__\":{\"rpo\":\"[]\"}}";
        fs::write(folder.path().join(format!("{}.safetensors", key(7))), old).unwrap();
        let theirs = [
            "notes.png".into(),
            "00/notes.png".into(),
            "readme".into(),
            // A name as other programs use.
            format!(
                "00/{}.png",
                key(0)
                    .replace('0', "00")
                    .get(..KEY - 2)
                    .unwrap_or_default()
                    .to_owned()
                    + "ab"
            ),
            format!("{}.safetensors", key(8)),
        ]
        .map(|n| folder.path().join(n));
        theirs
            .iter()
            .for_each(|path| fs::write(path, "mine").unwrap());
        let old = SystemTime::now() - Duration::from_secs(3600);
        for path in [store.path(&key(1)), store.path(&key(2))] {
            let file = File::options().append(true).open(path).unwrap();
            file.set_modified(old).unwrap();
        }
        // Reading renews the time of last use.
        store.get(&key(2)).unwrap();
        let (held, removed) = store.look(Some(Duration::from_secs(600))).unwrap();
        assert_eq!((held.files, removed.files), (4, 1));
        assert!(store.get(&key(1)).unwrap().is_none());
        let (held, removed) = store.look(Some(Duration::ZERO)).unwrap();
        assert_eq!((held.files, removed.files), (3, 3));
        assert!(theirs.iter().all(|path| path.exists()));
    }
}
