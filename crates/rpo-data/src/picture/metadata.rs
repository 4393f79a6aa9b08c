//! What lies beside the pixels: EXIF, XMP, the colour profile, further pictures. Found as Pillow finds it.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::ZlibDecoder;
use image::metadata::Orientation;

use super::form::Form;
use super::{ifd, jpeg};

/// Unpacked at most: profiles and texts of cameras are far shorter.
const MOST: u64 = 4 << 20;

/// The blocks of a file, as far as it has them.
#[derive(Debug, Default)]
pub(super) struct Metadata<'a> {
    /// A TIFF block.
    exif: Option<Cow<'a, [u8]>>,
    xmp: Option<Cow<'a, [u8]>>,
    profile: Option<Cow<'a, [u8]>>,
    /// Whether it is an animation. What follows a JPEG in MPO is mostly the same scene: a preview, a gain map, the other eye.
    pub(super) several: bool,
}

impl<'a> Metadata<'a> {
    /// Of a file's bytes. A damaged block counts as absent, as in Pillow.
    pub(super) fn of(form: Form, bytes: &'a [u8]) -> Self {
        match form {
            Form::Jpeg => Self::of_jpeg(bytes),
            Form::Png => Self::of_png(bytes),
            Form::WebP => Self::of_webp(bytes),
            Form::Gif => Self {
                several: frames(bytes) > 1,
                ..Self::default()
            },
            Form::Tiff => Self {
                exif: Some(bytes.into()),
                ..Self::default()
            },
            Form::Bmp | Form::Tga | Form::Pnm | Form::Qoi => Self::default(),
        }
    }

    fn of_jpeg(bytes: &'a [u8]) -> Self {
        let mut found = Self::default();
        for (marker, payload) in jpeg::segments(bytes) {
            let after = |name: &[u8]| payload.strip_prefix(name).map(Cow::Borrowed);
            match marker {
                0xe1 => {
                    found.exif = found.exif.or_else(|| after(b"Exif\0\0"));
                    found.xmp = after(b"http://ns.adobe.com/xap/1.0/\0").or(found.xmp);
                }
                // The first part of a profile, after its number and the count.
                0xe2 => {
                    let part = payload.strip_prefix(b"ICC_PROFILE\0\x01");
                    let part = part.and_then(|p| p.get(1..)).map(Cow::Borrowed);
                    found.profile = found.profile.or(part);
                }
                _ => {}
            }
        }
        found
    }

    fn of_png(bytes: &'a [u8]) -> Self {
        let mut found = Self::default();
        for (name, data) in png_chunks(bytes) {
            match name {
                b"eXIf" => found.exif = Some(without_name(data).into()),
                b"acTL" => found.several = data.get(..4).is_some_and(|n| n > &[0, 0, 0, 1]),
                b"iCCP" => {
                    let packed = after_keyword(data).and_then(|(_, rest)| rest.get(1..));
                    found.profile = packed.map(unpacked).map(Cow::Owned);
                }
                b"iTXt" => {
                    if let Some((b"XML:com.adobe.xmp", rest)) = after_keyword(data) {
                        found.xmp = international(rest);
                    }
                }
                b"tEXt" | b"zTXt" => {
                    let Some((b"Raw profile type exif", rest)) = after_keyword(data) else {
                        continue;
                    };
                    let text = match name {
                        b"tEXt" => Cow::Borrowed(rest),
                        _ => unpacked(rest.get(1..).unwrap_or_default()).into(),
                    };
                    let block = from_hexadecimal(&text);
                    found.exif = found.exif.or(block.map(Cow::Owned));
                }
                _ => {}
            }
        }
        found
    }

    fn of_webp(bytes: &'a [u8]) -> Self {
        let mut found = Self::default();
        let mut frames = 0;
        let mut rest = bytes.get(12..).unwrap_or_default();
        while let Some((header, after)) = rest.split_first_chunk::<8>() {
            let [a, b, c, d, length @ ..] = *header;
            let length = u32::from_le_bytes(length) as usize;
            let data = &after[..length.min(after.len())];
            match &[a, b, c, d] {
                b"EXIF" => found.exif = Some(without_name(data).into()),
                b"XMP " => found.xmp = Some(data.into()),
                b"ICCP" => found.profile = Some(data.into()),
                b"ANMF" => frames += 1,
                _ => {}
            }
            rest = after.get(length + length % 2..).unwrap_or_default();
        }
        found.several = frames > 1;
        found
    }

    /// As `ImageOps.exif_transpose`: EXIF's, else XMP's.
    pub(super) fn orientation(&self) -> Orientation {
        const TAG: u16 = 0x112;
        let exif = self
            .exif
            .as_deref()
            .and_then(|block| ifd::number(block, TAG));
        let number = exif.or_else(|| self.xmp.as_deref().and_then(of_xmp));
        number
            .and_then(|n| Orientation::from_exif(u8::try_from(n).ok()?))
            .unwrap_or(Orientation::NoTransforms)
    }

    /// The name of a colour profile other than sRGB.
    pub(super) fn profile(&self) -> Option<String> {
        let name = description(self.profile.as_deref()?).unwrap_or_else(|| "unnamed".to_owned());
        (!name.to_lowercase().contains("srgb")).then_some(name)
    }

    /// With XMP and profile that a decoder found.
    pub(super) fn with(mut self, xmp: Option<Vec<u8>>, profile: Option<Vec<u8>>) -> Self {
        self.xmp = self.xmp.or(xmp.map(Cow::Owned));
        self.profile = self.profile.or(profile.map(Cow::Owned));
        self
    }
}

/// The chunks of a PNG file, those after the pixels too.
fn png_chunks(bytes: &[u8]) -> impl Iterator<Item = (&[u8; 4], &[u8])> {
    let mut rest = bytes.get(8..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (name, after) = after.split_first_chunk::<4>()?;
        let length = u32::from_be_bytes(*length) as usize;
        let data = after.get(..length)?;
        rest = after.get(length + 4..).unwrap_or_default();
        Some((name, data))
    })
}

/// Some writers put JPEG's name of the segment before the block.
fn without_name(block: &[u8]) -> &[u8] {
    block.strip_prefix(b"Exif\0\0").unwrap_or(block)
}

fn after_keyword(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = data.iter().take(80).position(|byte| *byte == 0)?;
    Some((&data[..end], &data[end + 1..]))
}

/// The text of an `iTXt` chunk after its keyword: two flags, a language, a translated keyword.
fn international(rest: &[u8]) -> Option<Cow<'_, [u8]>> {
    let packed = *rest.first()? == 1;
    let (_, rest) = after_keyword(rest.get(2..)?)?;
    let (_, text) = after_keyword(rest)?;
    Some(match packed {
        true => unpacked(text).into(),
        false => text.into(),
    })
}

fn unpacked(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    // What was unpacked before an error is kept.
    let _ = ZlibDecoder::new(data).take(MOST).read_to_end(&mut out);
    out
}

/// ImageMagick's profile in a text: three lines of names and length, then hexadecimal digits.
fn from_hexadecimal(text: &[u8]) -> Option<Vec<u8>> {
    let lines = text.split(|b| *b == b'\n').skip(3).flatten();
    let digits: Option<Vec<u8>> = lines
        .filter(|b| !b.is_ascii_whitespace())
        .map(|b| (*b as char).to_digit(16).map(|d| d as u8))
        .collect();
    let block: Vec<u8> = digits?.chunks_exact(2).map(|d| d[0] << 4 | d[1]).collect();
    Some(without_name(&block).to_vec())
}

/// `tiff:Orientation="6"` or `<tiff:Orientation>6<`.
fn of_xmp(xmp: &[u8]) -> Option<u32> {
    const NAME: &[u8] = b"tiff:Orientation";
    let places = xmp.windows(NAME.len()).enumerate();
    places.filter(|(_, w)| *w == NAME).find_map(|(i, _)| {
        let rest = &xmp[i + NAME.len()..];
        let value = rest.strip_prefix(b"=\"").or(rest.strip_prefix(b">"))?;
        (*value.first()? as char).to_digit(10)
    })
}

/// The description in an ICC profile.
fn description(profile: &[u8]) -> Option<String> {
    let number = |at: usize| {
        let four = profile.get(at..at.checked_add(4)?)?;
        Some(u32::from_be_bytes(four.try_into().ok()?) as usize)
    };
    let tags = number(128)?.min(100);
    let place = (0..tags).find_map(|i| {
        let entry = 132 + 12 * i;
        (profile.get(entry..entry + 4)? == b"desc").then(|| number(entry + 4))?
    })?;
    let (from, length) = match profile.get(place..place + 4)? {
        b"desc" => (place + 12, number(place + 8)?),
        b"mluc" => (place + number(place + 24)?, number(place + 20)?),
        _ => return None,
    };
    let text = profile.get(from..from.checked_add(length.min(200))?)?;
    let text = text.iter().filter(|b| b.is_ascii_graphic() || **b == b' ');
    Some(text.map(|b| *b as char).collect())
}

/// Pictures in a GIF file, counted to 2.
fn frames(bytes: &[u8]) -> usize {
    let table = |flags: u8| match flags & 0x80 {
        0 => 0,
        _ => 3 << ((flags & 7) + 1),
    };
    // Length-prefixed blocks up to an empty one.
    let skip = |mut at: usize| loop {
        match bytes.get(at)? {
            0 => return Some(at + 1),
            length => at += 1 + *length as usize,
        }
    };
    let mut count = 0;
    let Some(flags) = bytes.get(10) else { return 0 };
    let mut at = Some(13 + table(*flags));
    while let Some(place) = at {
        at = match bytes.get(place) {
            Some(0x21) => skip(place + 2),
            Some(0x2c) if count == 1 => return 2,
            Some(0x2c) => {
                count = 1;
                let local = bytes.get(place + 9).map(|f| table(*f));
                local.and_then(|local| skip(place + 10 + local + 1))
            }
            _ => None,
        };
    }
    count
}
