//! What a file holds, by its content: names say little (a browser's `photo.jpg` may be WebP, AVIF or a web page).

use super::foreign::{self, Foreign};
use super::ifd;

/// How many bytes of a file's start [`Content::of`] wants; more are used for TIFF.
pub(crate) const START: usize = 4096;

/// A picture format that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Also MPO and what phones write behind a JPEG.
    Jpeg,
    Png,
    WebP,
    Gif,
    Bmp,
    Tiff,
    /// Known by the ending, or by the signature at a file's end: there is none at the start.
    Tga,
    /// PBM, PGM, PPM, PAM.
    Pnm,
    Qoi,
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Picture(Form),
    Foreign(Foreign),
    Unknown,
}

impl Content {
    /// By a file's bytes or its first [`START`] ones, and by its ending where the format has no signature.
    pub(crate) fn of(bytes: &[u8], ending: &str) -> Self {
        if let Some(form) = signed(bytes) {
            return match form {
                Form::Tiff => raw(bytes).map_or(Self::Picture(form), Self::Foreign),
                form => Self::Picture(form),
            };
        }
        if let Some(foreign) = foreign::of(bytes) {
            return Self::Foreign(foreign);
        }
        let named = ["tga", "targa", "vda", "icb", "vst"].contains(&ending);
        if (named && is_tga(bytes)) || bytes.ends_with(b"TRUEVISION-XFILE.\0") {
            return Self::Picture(Form::Tga);
        }
        Self::Unknown
    }
}

fn signed(bytes: &[u8]) -> Option<Form> {
    let starts = |magic: &[u8]| bytes.starts_with(magic);
    let at = |place: usize, magic: &[u8]| bytes.get(place..).is_some_and(|b| b.starts_with(magic));
    Some(if starts(b"\xff\xd8\xff") {
        Form::Jpeg
    } else if starts(b"\x89PNG\r\n\x1a\n") {
        Form::Png
    } else if starts(b"RIFF") && at(8, b"WEBP") {
        Form::WebP
    } else if starts(b"GIF87a") || starts(b"GIF89a") {
        Form::Gif
    } else if starts(b"II*\0") || starts(b"MM\0*") || starts(b"II+\0") || starts(b"MM\0+") {
        Form::Tiff
    } else if starts(b"BM") && (at(6, &[0; 4]) || at(14, &[40, 0, 0, 0])) {
        Form::Bmp
    } else if is_pnm(bytes) {
        Form::Pnm
    } else if starts(b"qoif") {
        Form::Qoi
    } else {
        return None;
    })
}

fn is_pnm(bytes: &[u8]) -> bool {
    let [b'P', b'1'..=b'7', space, ..] = bytes else {
        return false;
    };
    space.is_ascii_whitespace()
}

/// A camera's raw file is a TIFF whose first picture is a preview of some hundred pixels.
fn raw(bytes: &[u8]) -> Option<Foreign> {
    const NEW_SUBFILE_TYPE: u16 = 254;
    const DNG_VERSION: u16 = 50706;
    let preview = ifd::number(bytes, NEW_SUBFILE_TYPE).is_some_and(|kind| kind & 1 == 1);
    let dng = ifd::number(bytes, DNG_VERSION).is_some();
    let canon = bytes.get(8..10) == Some(b"CR");
    (preview || dng || canon).then_some(foreign::RAW)
}

/// Whether the header is one of the kinds of TGA that are in use.
fn is_tga(bytes: &[u8]) -> bool {
    let Some([_, map, kind]) = bytes.first_chunk::<3>() else {
        return false;
    };
    *map <= 1 && matches!(kind, 1..=3 | 9..=11) && bytes.len() > 18
}
