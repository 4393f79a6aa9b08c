//! Pictures: decoding as Pillow does, square crops, antialiased resizing, atomic writes.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use anyhow::{Context, Result, bail};
use image::{
    ColorType, DynamicImage, ImageBuffer, ImageDecoder, ImageFormat, ImageReader, RgbImage,
};

use crate::jpeg;
use crate::resample::{Filter, resize_rgb};

/// Reads a picture as transformers' and diffusers' `load_image` do: EXIF orientation applied, then Pillow's
/// `convert("RGB")`, which drops transparency and shows the colours below it, repeats grey, takes the upper half of
/// 16-bit values and computes CMYK. The format is taken from the content, not from the file's name.
///
/// Encoders were trained on pictures read this way, and published scores use it. If a transparent background hides colours
/// that matter, composite the picture onto a background first. One difference is intended: Pillow turns 16-bit grey white.
///
/// # Errors
/// If the file is missing, damaged or of a format that this build cannot decode; with the path and a hint.
pub fn load(path: impl AsRef<Path>) -> Result<RgbImage> {
    let path = path.as_ref();
    let bytes =
        fs::read(path).with_context(|| format!("cannot open the picture {}", path.display()))?;
    if bytes.is_empty() {
        bail!(
            "the picture {} is empty (0 bytes): copy it anew or remove it",
            path.display()
        );
    }
    let reader = ImageReader::new(Cursor::new(&bytes))
        .with_guessed_format()
        .with_context(|| format!("cannot read the picture {}", path.display()))?;
    // `with_guessed_format` uses only the content here, as no path was given.
    if reader.format().is_none() {
        bail!(
            "{} is not a picture in a format this build reads (JPEG, PNG, WebP, BMP, GIF, TIFF): convert it to JPEG or PNG, or remove it",
            path.display()
        );
    }
    decode(reader, &bytes).with_context(|| {
        format!("cannot decode the picture {}: it may be cut short or damaged; copy it anew or save it again as PNG", path.display())
    })
}

fn decode(reader: ImageReader<Cursor<&Vec<u8>>>, bytes: &[u8]) -> Result<RgbImage> {
    let is_jpeg = reader.format() == Some(ImageFormat::Jpeg);
    let mut decoder = reader.into_decoder()?;
    let orientation = decoder.orientation()?;
    let by_libjpeg = if is_jpeg { jpeg::decode(bytes)? } else { None };
    let mut decoded = match by_libjpeg {
        Some(picture) => DynamicImage::ImageRgb8(picture),
        None => DynamicImage::from_decoder(decoder)?,
    };
    decoded.apply_orientation(orientation);
    Ok(match decoded.color() {
        ColorType::L16 | ColorType::La16 | ColorType::Rgb16 | ColorType::Rgba16 => {
            high_bytes(&decoded.into_rgb16())
        }
        _ => decoded.into_rgb8(),
    })
}

/// The upper half of every 16-bit value, which is what Pillow's decoders keep.
fn high_bytes(picture: &ImageBuffer<image::Rgb<u16>, Vec<u16>>) -> RgbImage {
    RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        image::Rgb(picture.get_pixel(x, y).0.map(|value| (value >> 8) as u8))
    })
}

/// The largest square in `width` x `height`, as `(x, y, side)`, placed at the fractions `across` and `down` of the free room
/// (clamped to `[0, 1]`; 0.5 is the centre, rounded down).
pub fn square_box(width: u32, height: u32, across: f64, down: f64) -> (u32, u32, u32) {
    let side = width.min(height);
    let place = |room: u32, at: f64| (f64::from(room) * at.clamp(0.0, 1.0)).floor() as u32;
    (
        place(width - side, across),
        place(height - side, down),
        side,
    )
}

/// The largest centred square, resized to `size` x `size` with an antialiased Lanczos filter.
pub fn center_square(picture: &RgbImage, size: u32) -> RgbImage {
    square_at(picture, size, 0.5, 0.5)
}

/// The largest square at the fractions `across`, `down` of the free room (see [`square_box`]), resized to `size` x `size`:
/// a random crop when the fractions are random.
pub fn square_at(picture: &RgbImage, size: u32, across: f64, down: f64) -> RgbImage {
    let (x, y, side) = square_box(picture.width(), picture.height(), across, down);
    let square = if (picture.width(), picture.height()) == (side, side) {
        picture.clone()
    } else {
        image::imageops::crop_imm(picture, x, y, side, side).to_image()
    };
    resize(&square, size, size)
}

/// `picture` at `width` x `height`, antialiased Lanczos (Pillow's LANCZOS); a copy if the size is right already.
pub fn resize(picture: &RgbImage, width: u32, height: u32) -> RgbImage {
    resize_rgb(picture, width, height, Filter::Lanczos)
}

/// `picture` as the bytes of a PNG file.
pub fn png_bytes(picture: &RgbImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture
        .write_to(&mut bytes, ImageFormat::Png)
        .expect("an RGB picture in memory can always be written as PNG");
    bytes.into_inner()
}

/// Writes `picture` as PNG to a temporary file beside `path` and renames it: the file is whole or absent.
///
/// # Errors
/// If the folder is missing or not writable, with the path.
pub fn save_png(path: impl AsRef<Path>, picture: &RgbImage) -> Result<()> {
    let path = path.as_ref();
    if picture.width() == 0 || picture.height() == 0 {
        bail!("cannot write {}: the picture has no pixels", path.display());
    }
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        bail!(
            "cannot write into the folder {} (does it exist?)",
            folder.display()
        );
    }
    rpo_files::write(path, &png_bytes(picture))
        .with_context(|| format!("cannot write {}", path.display()))
}
