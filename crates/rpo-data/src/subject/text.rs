//! Texts that users write: UTF-8, or named as what they are.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::picture::shown;

/// Longer than any table of captions.
const MOST: u64 = 64 << 20;

/// A text file in UTF-8, without its byte order mark.
///
/// # Errors
/// A file that cannot be read or has another encoding; by path, with the way to convert it.
pub fn read_text(path: &Path) -> Result<String> {
    let named = || format!("cannot read the text {}", shown(path));
    let about = fs::metadata(path).with_context(named)?;
    if !about.is_file() || about.len() > MOST {
        bail!(
            "{} is no text file: {} bytes\n  hint: a regular file of at most {} MB",
            shown(path),
            about.len(),
            MOST >> 20
        );
    }
    let mut bytes = fs::read(path).with_context(named)?;
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    let wide = bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff");
    if wide || bytes.contains(&0) {
        bail!(
            "{} is UTF-16 (Windows' \"Unicode\") or no text\n  hint: save it as UTF-8, for example `iconv -f UTF-16 -t UTF-8`",
            shown(path)
        );
    }
    String::from_utf8(bytes).map_err(|e| {
        let place = e.utf8_error().valid_up_to();
        let byte = e.as_bytes().get(place).copied().unwrap_or_default();
        anyhow::anyhow!(
            "{} is no UTF-8: byte {byte:#04x} at {place}; probably Windows-1252 or Latin-1\n  hint: save it as UTF-8, for example `iconv -f WINDOWS-1252 -t UTF-8`",
            shown(path)
        )
    })
}
