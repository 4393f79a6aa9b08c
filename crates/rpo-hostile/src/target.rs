//! What is tried: a reader, its valid inputs, and its bounds.

use crate::case::Case;
use anyhow::Result;
use std::fmt;
use std::path::Path;

/// A reader of outside data.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it reads, in a line.
    pub about: &'static str,
    /// Valid inputs, from which mutations begin.
    pub seeds: fn() -> Result<Vec<Case>>,
    /// Makes checksums and lengths right again after a mutation, so that it gets past them; used on most inputs.
    pub repair: Option<fn(&mut Case)>,
    /// Reads the folder: `Err` refuses it; [`wrong`] says that it was accepted though it must not be.
    pub read: fn(&Path) -> Result<()>,
    /// Whether `read` is a verb of the program: a refusal must then have exit code 2.
    pub verb: bool,
    /// Whether `read` writes into the folder.
    pub writes: bool,
    /// Bytes of memory that any input may take; to this come 2200 for each of its own.
    pub memory: usize,
}

/// Bytes of memory for each byte of the input: what deflate can expand to, about 1030, with room for a copy.
pub(crate) const PER_BYTE: usize = 2200;

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Target {
    /// A reader of a library, with the bound for configurations and headers.
    pub const fn new(
        name: &'static str,
        about: &'static str,
        seeds: fn() -> Result<Vec<Case>>,
        read: fn(&Path) -> Result<()>,
    ) -> Self {
        Self {
            name,
            about,
            seeds,
            repair: None,
            read,
            verb: false,
            writes: false,
            memory: 64 << 20,
        }
    }
}

/// The input was read, but what was read cannot be right.
#[derive(Debug)]
pub(crate) struct Wrong(String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Wrong {}

/// The fault of having accepted the input, with what is wrong about it.
pub fn wrong(what: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Wrong(what.into()))
}

/// [`wrong`] unless `right`.
///
/// # Errors
/// With `what`.
pub fn ensure_fault(right: bool, what: impl FnOnce() -> String) -> Result<()> {
    match right {
        true => Ok(()),
        false => Err(wrong(what())),
    }
}
