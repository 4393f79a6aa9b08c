//! Files that are no picture this program reads, by their content: what they are, and how to get a picture out of them.

/// A file of another kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Foreign {
    /// "a HEIC picture", "a web page".
    pub(crate) what: &'static str,
    /// What to do.
    pub(crate) hint: &'static str,
    /// Whether it is a still picture: passing one over would train on a part of the subject.
    pub(crate) picture: bool,
}

const fn picture(what: &'static str, hint: &'static str) -> Foreign {
    Foreign {
        what,
        hint,
        picture: true,
    }
}

const fn other(what: &'static str, hint: &'static str) -> Foreign {
    Foreign {
        what,
        hint,
        picture: false,
    }
}

/// A camera's raw file.
pub(crate) const RAW: Foreign = picture(
    "a camera's raw file",
    "develop it and export it as JPEG, or take the JPEG that the camera wrote beside it",
);
const HEIC: Foreign = picture(
    "a HEIC picture",
    "convert it to JPEG: export it as JPEG on the phone or Mac, or `heif-convert a.heic a.jpg`",
);
const AVIF: Foreign = picture(
    "an AVIF picture",
    "convert it to PNG or JPEG: open it in a browser or image program and save it so, or `avifdec a.avif a.png`",
);
const JXL: Foreign = picture(
    "a JPEG XL picture",
    "convert it to PNG or JPEG, for example `djxl a.jxl a.png`",
);
const JP2: Foreign = picture(
    "a JPEG 2000 picture",
    "convert it to PNG or JPEG, for example `magick a.jp2 a.png`",
);
const ANY: &str = "convert it to PNG or JPEG, for example `magick FILE a.png`";
const EXPORT: &str = "open it in its program and export it as PNG or JPEG";
const VIDEO: Foreign = other(
    "a video",
    "take still pictures from it, for example `ffmpeg -i FILE -vf fps=1 %03d.png`",
);
const ARCHIVE: Foreign = other(
    "an archive",
    "unpack it and give the folder of its pictures",
);
const PAGE: Foreign = other(
    "a web page",
    "the download failed or needs a login: download the picture itself",
);
const PDF: Foreign = other(
    "a PDF document",
    "take its pictures out, for example `pdfimages -png FILE a`",
);
const SVG: Foreign = other("an SVG drawing", "export it as PNG at the size you want");
const POINTER: Foreign = other(
    "a Git LFS pointer in place of the file",
    "`git lfs pull` in its repository",
);
const ZEROS: Foreign = other("nothing but zero bytes", "copy it anew or remove it");

/// Signatures at an offset.
const SIGNED: [(usize, &[u8], Foreign); 34] = [
    (0, b"\0\0\0\x0cJXL ", JXL),
    (0, b"\xff\x0a", JXL),
    (0, b"\0\0\0\x0cjP  ", JP2),
    (0, b"\xff\x4f\xff\x51", JP2),
    (0, b"IIU\0", RAW),
    (0, b"IIRO", RAW),
    (0, b"IIRS", RAW),
    (0, b"MMOR", RAW),
    (0, b"FUJIFILMCCD-RAW", RAW),
    (0, b"FOVb", RAW),
    (0, b"\0MRM", RAW),
    (0, b"II\x1a\0\0\0HEAPCCDR", RAW),
    (0, b"8BPS", picture("a Photoshop document", EXPORT)),
    (0, b"gimp xcf", picture("a GIMP document", EXPORT)),
    (0, b"\x76\x2f\x31\x01", picture("an OpenEXR picture", ANY)),
    (0, b"#?RADIANCE", picture("a Radiance HDR picture", ANY)),
    (0, b"#?RGBE", picture("a Radiance HDR picture", ANY)),
    (0, b"DDS ", picture("a DDS texture", ANY)),
    (0, b"II\xbc", picture("a JPEG XR picture", ANY)),
    (0, b"\0\0\x01\0", picture("an icon", ANY)),
    (0, b"icns", picture("an icon", ANY)),
    (0, b"farbfeld", picture("a farbfeld picture", ANY)),
    (0, b"\x0a\x05\x01\x08", picture("a PCX picture", ANY)),
    (0, b"%PDF", PDF),
    (0, b"%!PS", other("a PostScript document", EXPORT)),
    (0, b"version https://git-lfs", POINTER),
    (0, b"PK\x03\x04", ARCHIVE),
    (0, b"Rar!", ARCHIVE),
    (0, b"7z\xbc\xaf", ARCHIVE),
    (0, b"\x1f\x8b", ARCHIVE),
    (257, b"ustar", ARCHIVE),
    (0, b"\x1a\x45\xdf\xa3", VIDEO),
    (8, b"AVI ", VIDEO),
    (0, b"\0\0\x01\xba", VIDEO),
];

/// The kind of a file, by its start.
pub(crate) fn of(start: &[u8]) -> Option<Foreign> {
    if let Some(found) = iso_media(start) {
        return Some(found);
    }
    let signed = SIGNED.iter().find(|(place, magic, _)| {
        start
            .get(*place..)
            .is_some_and(|rest| rest.starts_with(magic))
    });
    if let Some((.., foreign)) = signed {
        return Some(*foreign);
    }
    if !start.is_empty() && start.iter().all(|byte| *byte == 0) {
        return Some(ZEROS);
    }
    markup(start)
}

/// HEIC, AVIF, raw files of Canon and videos are boxes; the first one names its brands.
fn iso_media(start: &[u8]) -> Option<Foreign> {
    let kind = start.get(4..8)?;
    if [b"moov", b"mdat", b"wide"].iter().any(|k| k[..] == *kind) {
        return Some(VIDEO);
    }
    if kind != b"ftyp" {
        return None;
    }
    let length = u32::from_be_bytes(*start.first_chunk()?) as usize;
    let end = length.clamp(16, 256).min(start.len());
    // The major brand, its version, and the compatible brands.
    let brands = || start[8..end].chunks_exact(4);
    let any = |wanted: &[&[u8; 4]]| brands().any(|b| wanted.iter().any(|w| w[..] == *b));
    Some(if any(&[b"avif", b"avis"]) {
        AVIF
    } else if any(&[b"crx "]) {
        RAW
    } else if any(&[b"jxl "]) {
        JXL
    } else if any(&[b"jp2 ", b"jpx "]) {
        JP2
    } else if any(&[
        b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1",
    ]) {
        HEIC
    } else {
        VIDEO
    })
}

fn markup(start: &[u8]) -> Option<Foreign> {
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    let text = String::from_utf8_lossy(&text[..text.len().min(super::form::START)]);
    let text = text.trim_start().to_ascii_lowercase();
    if !text.starts_with('<') {
        return None;
    }
    if text.contains("<svg") && !text.contains("<html") {
        return Some(SVG);
    }
    let page =
        text.starts_with("<!doctype html") || text.contains("<html") || text.contains("<head");
    let xml = text.starts_with("<?xml") || text.starts_with("<error");
    (page || xml).then_some(PAGE)
}
