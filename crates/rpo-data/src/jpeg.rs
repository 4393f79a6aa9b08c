//! JPEG by libjpeg, Pillow's decoder: bit for bit the pixels on which other programs compute encoder scores.
//!
//! Decoders may differ in the last bits of the cosine transform and in the upsampling of chroma. The difference is a third
//! of a level on average and changes cosines of embeddings by up to 1e-4.

use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Result, anyhow, ensure};
use image::RgbImage;
use mozjpeg::{ColorSpace, Decompress};

/// The pixels of a grey or YCbCr file, without EXIF rotation; `None` for other colour models.
///
/// # Errors
/// libjpeg's error about a damaged file; a file that ends before its picture does.
pub(crate) fn decode(bytes: &[u8]) -> Result<Option<RgbImage>> {
    // libjpeg would fill the rest with grey.
    ensure!(is_whole(bytes), "the file ends before the picture does");
    // The crate reports libjpeg's errors by unwinding, past the panic hook.
    catch_unwind(AssertUnwindSafe(|| pixels(bytes))).map_err(|payload| {
        let message = payload.downcast_ref::<String>().cloned();
        anyhow!(message.unwrap_or_else(|| "libjpeg gave up".to_owned()))
    })?
}

fn pixels(bytes: &[u8]) -> Result<Option<RgbImage>> {
    let decoder = Decompress::new_mem(bytes)?;
    if !matches!(
        decoder.color_space(),
        ColorSpace::JCS_GRAYSCALE | ColorSpace::JCS_YCbCr | ColorSpace::JCS_RGB
    ) {
        return Ok(None);
    }
    let mut started = decoder.rgb()?;
    let (width, height) = (started.width() as u32, started.height() as u32);
    let values = started.read_scanlines::<u8>()?;
    Ok(RgbImage::from_raw(width, height, values))
}

/// Whether an end-of-image marker follows the last start of a scan. Scans cannot contain these markers.
fn is_whole(bytes: &[u8]) -> bool {
    let last = |marker: [u8; 2]| bytes.windows(2).rposition(|pair| pair == marker);
    match (last([0xff, 0xda]), last([0xff, 0xd9])) {
        (Some(scan), Some(end)) => end > scan,
        // Without a scan libjpeg reports the error.
        (scan, _) => scan.is_none(),
    }
}
