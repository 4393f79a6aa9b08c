//! Pictures of a subject's class, for prior preservation.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::Reference;
use super::captions::{Captions, some};
use super::listing::{Listing, list_of, name};
use crate::picture::{self, Limit, shown};

/// A folder of pictures of a class, listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassFolder {
    /// Its pictures, sorted by name; never empty.
    pub pictures: Vec<PathBuf>,
    others: Vec<PathBuf>,
    passed_over: Vec<String>,
}

/// What is told about a folder of pictures of a class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassRemarks {
    /// What is odd about its captions.
    pub notes: Vec<String>,
    /// Names of files and folders that nothing is read from.
    pub passed_over: Vec<String>,
}

impl ClassFolder {
    /// Lists a folder.
    ///
    /// # Errors
    /// As [`super::load_folder`], except for undecodable pictures.
    pub fn look(dir: &Path) -> Result<Self> {
        let Listing {
            photos,
            masks,
            folders,
            others,
            mut passed_over,
        } = list_of(dir, "the pictures of the class")?;
        if photos.is_empty() {
            let mut text = format!(
                "the folder {} holds no picture: put pictures of the class into it, other things than the subject (JPEG, PNG or WebP)",
                shown(dir)
            );
            let names: Vec<String> = folders.iter().map(|f| name(f)).collect();
            if !names.is_empty() {
                let names = some(&names, names.len());
                text += &format!("\n  hint: it holds {names}: give the folder with the pictures");
            }
            bail!("{text}");
        }
        passed_over.extend(masks.iter().map(|mask| name(mask)));
        passed_over.extend(folders.iter().map(|folder| format!("{}/", name(folder))));
        Ok(Self {
            pictures: photos,
            others,
            passed_over,
        })
    }

    /// Reads the first `most` pictures, one after the other, as photos of a subject are read, with their captions but without masks,
    /// and gives each to `take`.
    ///
    /// # Errors
    /// A picture that cannot be decoded or is above `limit`, a caption that cannot be read, by path; those of `take`.
    pub fn read(
        &self,
        most: usize,
        limit: Limit,
        take: &mut dyn FnMut(Reference) -> Result<()>,
    ) -> Result<ClassRemarks> {
        let captions = Captions::find(&self.pictures, &self.others)?;
        for (path, caption) in self.pictures.iter().zip(captions.of).take(most) {
            let loaded = picture::read(path, limit)?;
            take(Reference::of(path, loaded, caption, None))?;
        }
        Ok(ClassRemarks {
            notes: captions.notes,
            passed_over: [self.passed_over.clone(), captions.unused].concat(),
        })
    }
}
