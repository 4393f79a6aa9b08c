//! Errors of the operating system about a file: its path, what was tried, the cause, and a hint that fits the cause.

use crate::cause::{Act, hint};
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// An I/O error with its path. Displays as `PATH: cannot be read: CAUSE`, with a hint on its own line where one helps.
#[derive(Debug)]
pub struct FileError {
    act: Act,
    path: PathBuf,
    // No source: it is part of the message.
    cause: io::Error,
    hint: Option<String>,
}

impl FileError {
    /// The error of writing or creating `path`.
    pub fn writing(path: &Path, cause: io::Error) -> Self {
        Self::new(Act::Write, path, cause)
    }

    fn new(act: Act, path: &Path, cause: io::Error) -> Self {
        Self {
            hint: hint(act, path, &cause),
            path: path.to_owned(),
            act,
            cause,
        }
    }

    /// The kind of the cause.
    pub fn kind(&self) -> ErrorKind {
        self.cause.kind()
    }

    /// Whether this process may not write there, however much space is free.
    pub fn is_forbidden(&self) -> bool {
        matches!(
            self.kind(),
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem
        )
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let act = match self.act {
            Act::Read => "read",
            Act::Write => "written",
            Act::Remove => "removed",
        };
        let (path, cause) = (self.path.display().to_string(), self.cause.to_string());
        // Some causes begin with the path themselves.
        let cause = cause.strip_prefix(&format!("{path}: ")).unwrap_or(&cause);
        write!(f, "{path}: cannot be {act}: {cause}")?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for FileError {}

/// Gives an I/O error its path and what was tried.
pub trait AtPath<T> {
    /// The error of reading `path`.
    ///
    /// # Errors
    /// The same error, as a [`FileError`].
    fn reading(self, path: &Path) -> Result<T, FileError>;

    /// The error of writing or creating `path`.
    ///
    /// # Errors
    /// The same error, as a [`FileError`].
    fn writing(self, path: &Path) -> Result<T, FileError>;

    /// The error of removing `path`.
    ///
    /// # Errors
    /// The same error, as a [`FileError`].
    fn removing(self, path: &Path) -> Result<T, FileError>;
}

impl<T> AtPath<T> for io::Result<T> {
    fn reading(self, path: &Path) -> Result<T, FileError> {
        self.map_err(|e| FileError::new(Act::Read, path, e))
    }

    fn writing(self, path: &Path) -> Result<T, FileError> {
        self.map_err(|e| FileError::writing(path, e))
    }

    fn removing(self, path: &Path) -> Result<T, FileError> {
        self.map_err(|e| FileError::new(Act::Remove, path, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_path_attempt_cause_and_hint() {
        let full = Err::<(), _>(io::Error::from(ErrorKind::StorageFull));
        let error = full.writing(Path::new("runs/x")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "runs/x: cannot be written: no storage space\n  hint: free some space, then run the same command again"
        );
        assert!(!error.is_forbidden());
        let odd = Err::<(), _>(io::Error::other("a/b: odd"));
        let error = odd.removing(Path::new("a/b")).unwrap_err();
        assert_eq!(error.to_string(), "a/b: cannot be removed: odd");
    }
}
