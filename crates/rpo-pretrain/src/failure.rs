//! Bad input and the exit codes: 0 done, 1 failed, 2 bad input.

use std::fmt::Display;

/// Something the user gave cannot be used; the text names it and hints.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadInput(String);

impl BadInput {
    /// With its message, as an [`anyhow::Error`].
    #[expect(
        clippy::new_ret_no_self,
        reason = "it is only ever used as an anyhow::Error"
    )]
    pub fn new(message: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(Self(message.into()))
    }
}

/// Marks errors over the user's files as bad input.
pub trait OrBadInput<T> {
    /// [`BadInput`] with `what` in front of the message.
    ///
    /// # Errors
    /// The same error, marked.
    fn or_bad_input(self, what: impl Display) -> anyhow::Result<T>;
}

impl<T, E: Display> OrBadInput<T> for Result<T, E> {
    fn or_bad_input(self, what: impl Display) -> anyhow::Result<T> {
        self.map_err(|e| BadInput::new(format!("{what}: {e:#}")))
    }
}

/// 2 for bad input, 1 for everything else.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    1 + u8::from(error.chain().any(|e| e.is::<BadInput>()))
}
