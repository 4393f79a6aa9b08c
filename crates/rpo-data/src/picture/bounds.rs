//! Bounds on a picture's size, before memory is taken for it.

use anyhow::{Result, bail};

use super::form::Form;
use super::ifd;

/// The largest picture that is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// Millions of pixels.
    pub megapixels: f64,
    /// The key or argument that sets it, for messages; may be empty.
    pub key: &'static str,
}

impl Default for Limit {
    /// Panoramas are read; a decoded picture takes less than 1 GB.
    fn default() -> Self {
        Self {
            megapixels: Self::MEGAPIXELS,
            key: "",
        }
    }
}

impl Limit {
    /// The default.
    pub const MEGAPIXELS: f64 = 300.0;

    /// Bytes of a file that holds no larger picture: 16 bits in four channels, and what a phone adds.
    pub(super) fn file(self) -> u64 {
        (self.megapixels * 1e6 * 8.0) as u64 + (256 << 20)
    }

    pub(super) fn hint(self) -> String {
        match self.key {
            "" => "make it smaller".to_owned(),
            key => format!("make it smaller, or raise {key}"),
        }
    }
}

/// Checks a header's claim.
///
/// # Errors
/// A size of 0, one above the limit, or one that the file is too short for.
pub(super) fn check(
    form: Form,
    bytes: &[u8],
    (width, height): (u32, u32),
    limit: Limit,
) -> Result<()> {
    let pixels = u64::from(width) * u64::from(height);
    let size = format!("{width} x {height} pixels");
    if pixels == 0 {
        bail!("it claims {size}\n  hint: it is damaged: copy it anew or remove it");
    }
    if pixels as f64 > limit.megapixels * 1e6 {
        bail!(
            "it claims {size}, {} megapixels; at most {} are read\n  hint: {}",
            pixels / 1_000_000,
            limit.megapixels,
            limit.hint()
        );
    }
    if pixels > most(form, bytes).saturating_mul(bytes.len() as u64) {
        bail!(
            "it claims {size} in {} bytes, which cannot hold them\n  hint: it is cut short or damaged: copy it anew or remove it",
            bytes.len()
        );
    }
    Ok(())
}

/// The size in the header, where a decoder would take memory before it tells.
pub(super) fn claim(form: Form, bytes: &[u8]) -> Option<(u32, u32)> {
    let place = match form {
        Form::Png => 16,
        Form::Qoi => 4,
        _ => return None,
    };
    let number = |at: usize| {
        let four = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_be_bytes(four))
    };
    Some((number(place)?, number(place + 4)?))
}

/// Pixels that a byte can stand for at most.
fn most(form: Form, bytes: &[u8]) -> u64 {
    /// deflate makes at most 1032 bytes of one.
    const DEFLATE: u64 = 1032;
    /// LZW's longest string, 4093, from 12 bits.
    const LZW: u64 = 4096;
    match form {
        // A bit for each block of 8 x 8, in the coarsest of channels.
        Form::Jpeg => 8 * 64 * 4,
        Form::Png => 8 * DEFLATE,
        Form::Gif => LZW,
        Form::Bmp => match bytes.get(30..34) {
            Some([1 | 2, 0, 0, 0]) => 255,
            _ => 8,
        },
        Form::Tiff => match ifd::number(bytes, 259) {
            // Fax: unbounded.
            Some(2..=4) => u64::MAX,
            _ => 8 * LZW,
        },
        // Unbounded where everything has one colour; at most 16384 x 16384.
        Form::WebP => u64::MAX,
        Form::Tga => 128,
        Form::Pnm => 8,
        Form::Qoi => 62,
    }
}
