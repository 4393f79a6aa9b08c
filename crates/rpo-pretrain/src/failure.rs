//! Bad input and the exit codes: 0 done, 1 failed, 2 bad input.

/// Something the user gave cannot be used; the text names it and hints.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadInput(String);

impl BadInput {
    /// With its message.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// 2 for bad input, 1 for everything else.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    1 + u8::from(error.chain().any(|e| e.is::<BadInput>()))
}
