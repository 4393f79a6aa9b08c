//! Pictures inside the page.

use anyhow::{Result, bail};
use base64::Engine as _;
use serde::{Deserialize, Serialize};

/// A picture as a data URI, so that the page needs no other file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Picture(String);

impl Picture {
    /// Wraps the bytes of a PNG file.
    ///
    /// # Errors
    /// When the bytes do not begin as a PNG file does.
    pub fn png(bytes: &[u8]) -> Result<Self> {
        if !bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
            bail!(
                "a picture for the report is not a PNG file ({} bytes)",
                bytes.len()
            );
        }
        Ok(Self(format!(
            "{PNG_URI}{}",
            base64::engine::general_purpose::STANDARD.encode(bytes)
        )))
    }

    /// The data URI.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.0
    }

    /// Whether it is a PNG data URI and nothing else (a deserialised one may be any string).
    pub(super) fn is_png(&self) -> bool {
        self.0.strip_prefix(PNG_URI).is_some_and(|code| {
            code.bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='))
        })
    }
}

/// How every picture of a report begins.
const PNG_URI: &str = "data:image/png;base64,";
