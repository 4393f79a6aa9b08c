//! Pictures inside the page.

use std::collections::HashMap;
use std::path::Path;

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
    /// If the bytes do not begin like a PNG file.
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

    /// As [`Picture::png`], with the path of the full picture relative to the page, stored as a fragment of the URI, which
    /// browsers ignore.
    ///
    /// # Errors
    /// As [`Picture::png`].
    pub fn linked(bytes: &[u8], place: &Path) -> Result<Self> {
        let Self(uri) = Self::png(bytes)?;
        let mut link = String::new();
        for part in place.iter() {
            if !link.is_empty() {
                link.push('/');
            }
            for byte in part.to_string_lossy().bytes() {
                match is_plain(byte) {
                    true => link.push(char::from(byte)),
                    false => link += &format!("%{byte:02X}"),
                }
            }
        }
        Ok(Self(format!("{uri}#{link}")))
    }

    /// The data URI, with its link if any.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.0
    }

    fn is_png(&self) -> bool {
        self.0.strip_prefix(PNG_URI).is_some_and(|code| {
            let (code, link) = code.split_once('#').unwrap_or((code, ""));
            code.bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='))
                && link
                    .bytes()
                    .all(|b| is_plain(b) || matches!(b, b'/' | b'%'))
                && !link.starts_with('/')
                && link.split('/').all(|part| part != "..")
        })
    }
}

/// Whether a byte of a path needs no escape in a link.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

/// The distinct pictures of a page.
#[derive(Default)]
pub(super) struct Pool {
    uris: Vec<String>,
    places: HashMap<String, usize>,
}

impl Pool {
    /// Moves a picture into the list and replaces it by its index.
    ///
    /// # Errors
    /// If it is not a PNG data URI (one read from a file may be any string).
    pub(super) fn take(&mut self, picture: &mut Picture) -> Result<()> {
        if !picture.is_png() {
            let start: String = picture.0.chars().take(40).collect();
            bail!("a picture of the report is not a PNG data URI: it begins with {start:?}");
        }
        // Equal pictures are stored once, with a link to the first of them.
        let uri = std::mem::take(&mut picture.0);
        let bytes = uri.split('#').next().unwrap_or_default().to_owned();
        let place = *self.places.entry(bytes).or_insert_with(|| {
            self.uris.push(uri);
            self.uris.len() - 1
        });
        picture.0 = place.to_string();
        Ok(())
    }

    pub(super) fn into_uris(self) -> Vec<String> {
        self.uris
    }
}

/// Prefix of every picture of a report.
const PNG_URI: &str = "data:image/png;base64,";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_hold_no_more_than_a_path() {
        let bytes = b"\x89PNG\r\n\x1a\n...";
        let plain = Picture::png(bytes).unwrap();
        let place = Path::new("trajectories/λ 0.3/\"><script>/x.png");
        let linked = Picture::linked(bytes, place).unwrap();
        let want = "#trajectories/%CE%BB%200.3/%22%3E%3Cscript%3E/x.png";
        assert_eq!(linked.uri(), format!("{}{want}", plain.uri()));
        assert!(plain.is_png() && linked.is_png());
        for bad in [
            "#javascript:alert(1)",
            "#a\"b",
            "#<b>",
            "#//host/x",
            "#a/../../x",
        ] {
            assert!(!Picture(format!("{}{bad}", plain.uri())).is_png(), "{bad}");
        }
    }
}
