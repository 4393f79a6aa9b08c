//! An input: a small folder of files.

use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Files by their path in the folder, with `/`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Case {
    /// Path and content.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Case {
    /// A folder of one file.
    pub fn of(name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self::default().with(name, bytes)
    }

    /// The same with another file.
    pub fn with(mut self, name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.insert(name.to_owned(), bytes.into());
        self
    }

    /// The same in a folder of this name.
    pub fn within(&self, folder: &str) -> Self {
        let files = self.files.iter();
        Self {
            files: files
                .map(|(name, bytes)| (format!("{folder}/{name}"), bytes.clone()))
                .collect(),
        }
    }

    /// Bytes of all files.
    pub fn size(&self) -> usize {
        self.files.values().map(Vec::len).sum()
    }

    /// Writes the files that differ from `before`, which is what the folder holds, and removes those that are gone.
    ///
    /// # Errors
    /// I/O errors, by path.
    pub fn write(&self, folder: &Path, before: &Self) -> Result<()> {
        for name in before.files.keys() {
            if !self.files.contains_key(name) {
                let path = folder.join(name);
                fs::remove_file(&path).with_context(|| path.display().to_string())?;
            }
        }
        for (name, bytes) in &self.files {
            if before.files.get(name) != Some(bytes) {
                let path = folder.join(name);
                let parent = path.parent().unwrap_or(folder);
                fs::create_dir_all(parent)
                    .and_then(|()| fs::write(&path, bytes))
                    .with_context(|| path.display().to_string())?;
            }
        }
        Ok(())
    }

    /// Reads every file of a folder.
    ///
    /// # Errors
    /// I/O errors, by path.
    pub fn read(folder: &Path) -> Result<Self> {
        let mut case = Self::default();
        case.add(folder, "")?;
        Ok(case)
    }

    fn add(&mut self, folder: &Path, prefix: &str) -> Result<()> {
        let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
        for entry in entries {
            let entry = entry?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                self.add(&path, &format!("{name}/"))?;
            } else {
                let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
                self.files.insert(name, bytes);
            }
        }
        Ok(())
    }
}
