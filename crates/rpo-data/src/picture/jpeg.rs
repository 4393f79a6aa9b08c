//! JPEG by libjpeg, Pillow's decoder: bit for bit the pixels on which other programs compute encoder scores.
//!
//! Decoders may differ in the last bits of the cosine transform and in the upsampling of chroma. The difference is a third
//! of a level on average and changes cosines of embeddings by up to 1e-4.

use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Result, anyhow, bail};
use image::RgbImage;
use mozjpeg::{ColorSpace, Decompress};

/// The first picture of a file, without EXIF rotation. `check` sees its size before memory is taken for it.
///
/// # Errors
/// Those of `check`; libjpeg's about a damaged file; a file that ends before its picture does.
pub(super) fn decode(
    bytes: &[u8],
    check: impl FnOnce((u32, u32)) -> Result<()>,
) -> Result<RgbImage> {
    // The crate reports libjpeg's errors by unwinding, past the panic hook.
    catch_unwind(AssertUnwindSafe(|| pixels(bytes, check))).map_err(|payload| {
        let message = payload.downcast_ref::<String>().cloned();
        anyhow!(message.unwrap_or_else(|| "libjpeg gave up".to_owned()))
    })?
}

fn pixels(bytes: &[u8], check: impl FnOnce((u32, u32)) -> Result<()>) -> Result<RgbImage> {
    let decoder = Decompress::new_mem(bytes)?;
    let (width, height) = (decoder.width() as u32, decoder.height() as u32);
    check((width, height))?;
    // libjpeg would fill the rest with grey.
    if end(bytes).is_none() {
        bail!("the file ends before the picture does");
    }
    let values = match decoder.color_space() {
        ColorSpace::JCS_GRAYSCALE | ColorSpace::JCS_YCbCr | ColorSpace::JCS_RGB => {
            decoder.rgb()?.read_scanlines::<u8>()?
        }
        ColorSpace::JCS_CMYK | ColorSpace::JCS_YCCK => {
            let mut started = decoder.to_colorspace(ColorSpace::JCS_CMYK)?;
            let inks = started.read_scanlines::<[u8; 4]>()?;
            inks.into_iter().flat_map(of_inks).collect()
        }
        _ => bail!("its colours are none that are read (grey, YCbCr, RGB, CMYK, YCCK)"),
    };
    RgbImage::from_raw(width, height, values)
        .ok_or_else(|| anyhow!("libjpeg gave another number of pixels than it announced"))
}

/// Pillow's conversion of CMYK, stored inverted, as image programs write it.
fn of_inks(inverted: [u8; 4]) -> [u8; 3] {
    let [colours @ .., black] = inverted.map(|value| u32::from(255 - value));
    let white = 255 - black;
    colours.map(|colour| {
        let product = colour * white + 128;
        (white - (((product >> 8) + product) >> 8)) as u8
    })
}

/// The segments before the first scan: marker and payload.
pub(super) fn segments(bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = bytes.get(2..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (marker, payload, after) = segment(rest)?;
        rest = after;
        Some((marker, payload))
    })
    .take_while(|(marker, _)| *marker != SCAN)
}

const SCAN: u8 = 0xda;
const END: u8 = 0xd9;

/// The next segment with a length: its marker, its payload and what follows.
fn segment(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let mut rest = bytes;
    loop {
        let start = rest.iter().position(|byte| *byte == 0xff)?;
        let (marker, after) = rest.get(start + 1..)?.split_first()?;
        match marker {
            // Fill bytes, stuffed bytes, markers without a length.
            0xff => rest = &rest[start + 1..],
            0 | 1 | 0xd0..=0xd8 => rest = after,
            &END => return Some((END, &[], after)),
            marker => {
                let (length, _) = after.split_first_chunk::<2>()?;
                let length = u16::from_be_bytes(*length) as usize;
                let payload = after.get(2..length.max(2))?;
                return Some((*marker, payload, after.get(length.max(2)..)?));
            }
        }
    }
}

/// Where the first picture ends: at the end marker after its scans. Phones write videos and further pictures behind it.
fn end(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes.get(2..)?;
    let mut scanned = false;
    loop {
        let (marker, _, after) = segment(rest)?;
        scanned |= marker == SCAN;
        if marker == END && scanned {
            return Some(bytes.len() - after.len());
        }
        rest = after;
    }
}
