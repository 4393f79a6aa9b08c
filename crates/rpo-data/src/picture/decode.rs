//! From a file's bytes to RGB pixels.

use std::io::Cursor;

use anyhow::{Error, Result, anyhow, bail};
use image::error::ImageError;
use image::metadata::Orientation;
use image::{
    ColorType, DynamicImage, GrayImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage,
};

use super::bounds::{self, Limit};
use super::form::Form;
use super::jpeg;
use super::metadata::Metadata;
use super::{Loaded, Seen};

/// Decodes the first picture of a file.
///
/// # Errors
/// With a hint that fits: a size that is not read, a file that is cut short or damaged, a kind that is not supported.
pub(super) fn decode(bytes: &[u8], form: Form, limit: Limit) -> Result<Loaded> {
    let about = Metadata::of(form, bytes);
    let check = |size| bounds::check(form, bytes, size, limit);
    let (mut decoded, about) = match form {
        Form::Jpeg => {
            let picture = jpeg::decode(bytes, check).map_err(|e| damaged(&e))?;
            (DynamicImage::ImageRgb8(picture), about)
        }
        form => {
            bounds::claim(form, bytes).map_or(Ok(()), check)?;
            let mut decoder = decoder(form, bytes).map_err(explained)?;
            check(decoder.dimensions())?;
            if form == Form::Tga && decoder.original_color_type().bits_per_pixel() == 16 {
                bail!("TGA of 16 bits per pixel is not read\n  hint: save it again as PNG");
            }
            // What is beside the pixels is no reason to refuse them.
            let about = match form {
                Form::Tiff => about.with(
                    decoder.xmp_metadata().unwrap_or_default(),
                    decoder.icc_profile().unwrap_or_default(),
                ),
                _ => about,
            };
            let picture = DynamicImage::from_decoder(decoder).map_err(explained)?;
            (picture, about)
        }
    };
    let turn = about.orientation();
    let seen = Seen {
        turned: turn != Orientation::NoTransforms,
        transparent: is_transparent(&decoded),
        animated: about.several,
        profile: about.profile(),
    };
    decoded.apply_orientation(turn);
    let alpha = seen.transparent.then(|| alpha(&decoded)).flatten();
    Ok(Loaded {
        picture: to_rgb(decoded)?,
        seen,
        alpha,
        turn,
    })
}

fn decoder(form: Form, bytes: &[u8]) -> Result<impl ImageDecoder + '_, ImageError> {
    let format = match form {
        Form::Jpeg => ImageFormat::Jpeg,
        Form::Png => ImageFormat::Png,
        Form::WebP => ImageFormat::WebP,
        Form::Gif => ImageFormat::Gif,
        Form::Bmp => ImageFormat::Bmp,
        Form::Tiff => ImageFormat::Tiff,
        Form::Tga => ImageFormat::Tga,
        Form::Pnm => ImageFormat::Pnm,
        Form::Qoi => ImageFormat::Qoi,
    };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::no_limits();
    if matches!(form, Form::Png | Form::Gif) {
        // Packed texts and profiles, and frames that are not of the picture's size, which is checked by itself.
        limits.max_alloc = Some(256 << 20);
    }
    reader.limits(limits);
    reader.into_decoder()
}

/// Pillow's `convert("RGB")`: transparency is dropped, grey repeated, of 16 bits the upper 8 are kept.
fn to_rgb(picture: DynamicImage) -> Result<RgbImage> {
    Ok(match picture.color() {
        ColorType::L16 | ColorType::La16 | ColorType::Rgb16 | ColorType::Rgba16 => {
            let deep = picture.into_rgb16();
            let (width, height) = deep.dimensions();
            let high = deep.into_raw().into_iter().map(|value| (value >> 8) as u8);
            RgbImage::from_raw(width, height, high.collect())
                .ok_or_else(|| anyhow!("its pixels are not of its size"))?
        }
        ColorType::Rgb32F | ColorType::Rgba32F => bail!(
            "pixels of 32-bit floating point have no defined white\n  hint: save it as PNG or JPEG"
        ),
        _ => picture.into_rgb8(),
    })
}

fn is_transparent(picture: &DynamicImage) -> bool {
    match picture {
        DynamicImage::ImageRgba8(p) => p.pixels().any(|p| p.0[3] != u8::MAX),
        DynamicImage::ImageLumaA8(p) => p.pixels().any(|p| p.0[1] != u8::MAX),
        DynamicImage::ImageRgba16(p) => p.pixels().any(|p| p.0[3] != u16::MAX),
        DynamicImage::ImageLumaA16(p) => p.pixels().any(|p| p.0[1] != u16::MAX),
        _ => false,
    }
}

/// The alpha channel; of 16 bits the upper 8.
fn alpha(picture: &DynamicImage) -> Option<GrayImage> {
    let values: Vec<u8> = match picture {
        DynamicImage::ImageRgba8(p) => p.pixels().map(|p| p.0[3]).collect(),
        DynamicImage::ImageLumaA8(p) => p.pixels().map(|p| p.0[1]).collect(),
        DynamicImage::ImageRgba16(p) => p.pixels().map(|p| (p.0[3] >> 8) as u8).collect(),
        DynamicImage::ImageLumaA16(p) => p.pixels().map(|p| (p.0[1] >> 8) as u8).collect(),
        _ => return None,
    };
    GrayImage::from_raw(picture.width(), picture.height(), values)
}

/// A decoder's error with a hint that fits.
fn explained(error: ImageError) -> Error {
    match error {
        ImageError::Unsupported(e) => {
            anyhow!("this kind of it is not read ({e})\n  hint: save it again as PNG or JPEG")
        }
        ImageError::Limits(e) => {
            anyhow!(
                "what is packed in it beside its pixels is too much ({e})\n  hint: save it again as PNG or JPEG"
            )
        }
        e => damaged(&anyhow!(e)),
    }
}

fn damaged(error: &Error) -> Error {
    let text = format!("{error:#}");
    if text.contains("\n  hint: ") {
        return anyhow!(text);
    }
    anyhow!("it is cut short or damaged ({text})\n  hint: copy it anew, or save it again as PNG")
}
