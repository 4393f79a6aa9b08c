//! Kinds of failure: bad input (exit code 2), an interruption (75), and everything else (1).

use std::fmt;

/// The user's input is wrong: a file, a key or a value. The message names it and gives a hint.
#[derive(Debug)]
pub struct BadInput(String);

impl fmt::Display for BadInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadInput {}

impl BadInput {
    /// A message with the cause and a hint, as an [`anyhow::Error`].
    #[expect(
        clippy::new_ret_no_self,
        reason = "it is only ever used as an anyhow::Error"
    )]
    pub fn new(message: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(Self(message.into()))
    }
}

/// Marks errors of a computation on the user's files as bad input.
pub trait OrBadInput<T> {
    /// Turns the error into [`BadInput`], with `what` before its message.
    ///
    /// # Errors
    /// The same error, marked.
    fn or_bad_input(self, what: impl fmt::Display) -> anyhow::Result<T>;
}

impl<T, E: fmt::Display> OrBadInput<T> for Result<T, E> {
    fn or_bad_input(self, what: impl fmt::Display) -> anyhow::Result<T> {
        self.map_err(|e| BadInput::new(format!("{what}: {e:#}")))
    }
}

/// The program was asked to end before its work was done; the same command goes on from what was saved.
#[derive(Debug, thiserror::Error)]
#[error("interrupted: what was done is saved, and the same command goes on")]
pub struct Interrupted;

/// The exit code of an interrupted program, as `EX_TEMPFAIL` of sysexits.h.
pub const INTERRUPTED: u8 = 75;

/// The process exit code of an error: 75 for [`Interrupted`], 2 for [`BadInput`], else 1.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    let mut chain = error.chain();
    if chain.any(|cause| cause.is::<Interrupted>()) {
        INTERRUPTED
    } else if error.chain().any(|cause| cause.is::<BadInput>()) {
        2
    } else {
        1
    }
}
