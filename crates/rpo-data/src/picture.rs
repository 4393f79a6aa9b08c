//! Pictures: decoding as Pillow does, square crops, antialiased resizing, atomic writes.

mod bounds;
mod decode;
mod foreign;
pub(crate) mod form;
mod ifd;
mod jpeg;
mod metadata;
mod png_text;

use std::fs::{self, File};
use std::io::{Cursor, Read};
use std::path::Path;

use anyhow::{Context, Result, bail};
use image::metadata::Orientation;
use image::{GrayImage, ImageFormat, RgbImage};
use rpo_files::printable::printable;

use crate::resample::{Filter, resize_rgb};
pub use bounds::Limit;
use form::{Content, START};
pub use png_text::png_with_texts;

/// A picture, and what was noticed while it was read.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Its pixels.
    pub picture: RgbImage,
    /// What was noticed.
    pub seen: Seen,
    /// Its transparency, turned as the pixels are, of 16 bits the upper 8: 255 where it is opaque. None where it is everywhere.
    pub alpha: Option<GrayImage>,
    /// How the pixels were turned.
    pub(crate) turn: Orientation,
}

/// What a file has beside the pixels that are used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// It was turned or mirrored, as its EXIF or XMP orientation says.
    pub turned: bool,
    /// Some pixels are transparent; the colours below are used.
    pub transparent: bool,
    /// It is an animation, of which the first picture is used.
    pub animated: bool,
    /// The name of its colour profile if that is not sRGB; it is not applied.
    pub profile: Option<String>,
}

/// Reads a picture as transformers' and diffusers' `load_image` do: EXIF orientation applied, then Pillow's
/// `convert("RGB")`, which drops transparency and shows the colours below it, repeats grey, takes the upper half of
/// 16-bit values and computes CMYK. The format is taken from the content, not from the file's name.
///
/// Encoders were trained on pictures read this way, and published scores use it. If a transparent background hides colours
/// that matter, composite the picture onto a background first. One difference is intended: Pillow turns 16-bit grey white.
///
/// # Errors
/// If the file is missing, damaged, larger than [`Limit::default`] or of a format that this build cannot decode; with the path
/// and a hint.
pub fn load(path: impl AsRef<Path>) -> Result<RgbImage> {
    Ok(read(path, Limit::default())?.picture)
}

/// As [`load`], with the largest size given and with what was noticed.
///
/// # Errors
/// As [`load`].
pub fn read(path: impl AsRef<Path>, limit: Limit) -> Result<Loaded> {
    let path = path.as_ref();
    let named = || format!("cannot read the picture {}", shown(path));
    let about =
        fs::metadata(path).with_context(|| format!("cannot open the picture {}", shown(path)))?;
    if !about.is_file() {
        bail!("{}: it is no regular file", named());
    }
    if about.len() == 0 {
        bail!(
            "the picture {} is empty (0 bytes)\n  hint: copy it anew or remove it",
            shown(path)
        );
    }
    let ending = ending(path);
    let mut file = File::open(path).with_context(named)?;
    let mut bytes = Vec::new();
    // The start tells a video of some gigabytes from a photo.
    let mut start = file.by_ref().take(START as u64);
    start.read_to_end(&mut bytes).with_context(named)?;
    if let Content::Foreign(foreign) = Content::of(&bytes, &ending) {
        bail!(
            "{} is {}\n  hint: {}",
            shown(path),
            foreign.what,
            foreign.hint
        );
    }
    if about.len() > limit.file() {
        bail!(
            "{}: {} MB are more than a picture of {} megapixels takes\n  hint: {}",
            named(),
            about.len() >> 20,
            limit.megapixels,
            limit.hint()
        );
    }
    file.take(limit.file())
        .read_to_end(&mut bytes)
        .with_context(named)?;
    match Content::of(&bytes, &ending) {
        Content::Picture(form) => decode::decode(&bytes, form, limit).with_context(named),
        Content::Foreign(foreign) => bail!(
            "{} is {}\n  hint: {}",
            shown(path),
            foreign.what,
            foreign.hint
        ),
        Content::Unknown => bail!(
            "{} is not a picture in a format that is read (JPEG, PNG, WebP, BMP, GIF, TIFF, TGA, PNM, QOI)\n  hint: convert it to JPEG or PNG, or remove it",
            shown(path)
        ),
    }
}

/// The path as it may be printed.
pub(crate) fn shown(path: &Path) -> String {
    printable(&path.display().to_string()).into_owned()
}

/// The ending of a name, in small letters, without the dot.
pub(crate) fn ending(path: &Path) -> String {
    let ending = path.extension().unwrap_or_default();
    ending.to_string_lossy().to_lowercase()
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

/// The size at which the shorter side of `width` x `height` is `size`.
pub fn shorter_at(width: u32, height: u32, size: u32) -> (u32, u32) {
    let scale = f64::from(size) / f64::from(width.min(height));
    let side = |n: u32| ((f64::from(n) * scale).round() as u32).max(size);
    (side(width), side(height))
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
