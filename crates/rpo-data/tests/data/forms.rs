//! What a file is, whatever its name says: named with the way to a picture, and refused before memory is taken for a lie.

use std::fs;
use std::io::{Cursor, Write};
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use rpo_data::picture::{Limit, load, read};

fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn refused(name: &str, bytes: &[u8], words: &[&str]) {
    let (_keep, path) = file(name, bytes);
    let text = format!("{:#}", load(&path).unwrap_err());
    for word in words.iter().chain([&name, &"hint: "]) {
        assert!(text.contains(word), "{name}: no `{word}` in {text}");
    }
}

fn sample() -> RgbImage {
    RgbImage::from_fn(48, 32, |x, y| Rgb([x as u8 * 5, y as u8 * 7, 90]))
}

fn encoded(format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(sample())
        .write_to(&mut bytes, format)
        .unwrap();
    bytes.into_inner()
}

#[test]
fn names_decide_nothing() {
    let same = |names: &[&str], format| {
        let bytes = encoded(format);
        let (_keep, path) = file(names[0], &bytes);
        let expected = load(path).unwrap();
        for name in &names[1..] {
            let (_keep, path) = file(name, &bytes);
            assert_eq!(load(path).unwrap(), expected, "{name}");
        }
    };
    let jpeg = [
        "a.jpg",
        "a.jfif",
        "a.jpe",
        "a.pjpeg",
        "a.JPG_LARGE",
        "a.mpo",
        "a.thm",
        "a",
        "a.cr3",
        "a.png",
        "a.tga",
    ];
    same(&jpeg, ImageFormat::Jpeg);
    same(&["a.png", "a.jpg", "a.webp", "a.heic"], ImageFormat::Png);
    same(&["a.webp", "a.png", "a.jpg"], ImageFormat::WebP);
    same(&["a.ppm", "a.pnm", "a"], ImageFormat::Pnm);
    same(&["a.tga", "a.TGA", "a.targa"], ImageFormat::Tga);
}

/// Boxes as HEIC, AVIF and videos have them.
fn boxed(brands: &str) -> Vec<u8> {
    let mut bytes = (8 + brands.len() as u32).to_be_bytes().to_vec();
    bytes.extend(b"ftyp");
    bytes.extend(brands.as_bytes());
    bytes.extend([0; 400]);
    bytes
}

/// A little-endian TIFF of 8 x 8 grey pixels with these further tags.
fn tiff(size: [u32; 2], further: &[(u16, u32)]) -> Vec<u8> {
    let mut tags = vec![(256, size[0]), (257, size[1]), (258, 8), (259, 1), (262, 1)];
    tags.extend([(273, 8), (277, 1), (278, size[1]), (279, size[0] * size[1])]);
    tags.extend(further);
    tags.sort_unstable();
    tags.dedup_by_key(|tag| tag.0);
    let mut bytes = b"II*\0\x48\0\0\0".to_vec();
    bytes.resize(72, 50);
    bytes.extend((tags.len() as u16).to_le_bytes());
    for (tag, value) in tags {
        bytes.extend(tag.to_le_bytes());
        bytes.extend([4, 0, 1, 0, 0, 0]);
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend([0; 4]);
    bytes
}

#[test]
fn other_files_are_named_with_the_way_to_a_picture() {
    let page = b"\n<!DOCTYPE html><html><head><title>Log in</title>";
    let svg = b"<?xml version=\"1.0\"?>\n<svg width=\"3\"></svg>";
    let kinds: [(&[u8], &[&str]); 24] = [
        (&boxed("heic\0\0\0\0mif1heic"), &["HEIC", "heif-convert"]),
        (&boxed("mif1\0\0\0\0mif1miaf"), &["HEIC"]),
        (
            &boxed("avif\0\0\0\0mif1miaf"),
            &["AVIF", "convert it to PNG"],
        ),
        (&boxed("mif1\0\0\0\0avifmiaf"), &["AVIF"]),
        (&boxed("avis\0\0\0\0msf1"), &["AVIF"]),
        (
            &boxed("crx \0\0\0\x01isom"),
            &["raw file", "export it as JPEG"],
        ),
        (&boxed("mp42\0\0\0\0isom"), &["video", "ffmpeg"]),
        (&boxed("qt  \0\0\0\0qt  "), &["video"]),
        (b"\x1a\x45\xdf\xa3\x01\0\0\0\0\0\0#", &["video"]),
        (b"\0\0\0\x0cJXL \r\n\x87\n", &["JPEG XL"]),
        (b"\xff\x0a\xfa\x1f", &["JPEG XL"]),
        (b"\0\0\0\x0cjP  \r\n\x87\n", &["JPEG 2000"]),
        (b"FUJIFILMCCD-RAW 0201", &["raw file"]),
        (b"II*\0\x10\0\0\0CR\x02\0\0\0\0\0", &["raw file"]),
        (&tiff([8, 8], &[(254, 1)]), &["raw file"]),
        (&tiff([8, 8], &[(50706, 0x401)]), &["raw file"]),
        (b"8BPS\0\x01\0\0\0\0\0\0", &["Photoshop"]),
        (b"%PDF-1.7\n", &["PDF", "pdfimages"]),
        (svg, &["SVG", "export it as PNG"]),
        (page, &["web page", "download"]),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
            &["Git LFS", "git lfs pull"],
        ),
        (b"PK\x03\x04\x14\0\0\0", &["archive", "unpack"]),
        (&[0; 5000], &["zero bytes"]),
        (b"just words", &["not a picture", "convert it"]),
    ];
    for (bytes, words) in kinds {
        for name in ["a.jpg", "a.png"] {
            refused(name, bytes, words);
        }
    }
    let (_keep, path) = file("a.tif", &tiff([8, 8], &[]));
    assert_eq!(load(path).unwrap().get_pixel(3, 3), &Rgb([50; 3]));
}

#[test]
fn what_follows_a_jpeg_is_none_of_it() {
    let jpeg = encoded(ImageFormat::Jpeg);
    let (_keep, path) = file("plain.jpg", &jpeg);
    let expected = load(path).unwrap();
    // Of a video, bytes that look like markers; of MPO, further pictures, the last cut short.
    let mut motion = jpeg.clone();
    motion.extend(boxed("mp42\0\0\0\0isom"));
    motion.extend(b"\xff\xda\0\x08\xff\xd8\xff\xda\xff");
    let mut several = [jpeg.clone(), jpeg.clone()].concat();
    several.truncate(jpeg.len() + jpeg.len() / 2);
    for bytes in [motion, several] {
        let (_keep, path) = file("longer.jpg", &bytes);
        assert_eq!(load(path).unwrap(), expected);
    }
    // A preview inside does not stand for the end of the picture around it.
    let mut cut = jpeg[..2].to_vec();
    let preview = [b"Exif\0\0", jpeg.as_slice()].concat();
    cut.extend([0xff, 0xe1]);
    cut.extend((preview.len() as u16 + 2).to_be_bytes());
    cut.extend(preview);
    cut.extend(&jpeg[2..jpeg.len() - 2]);
    refused("cut.jpg", &cut, &["ends before", "copy it anew"]);
}

fn chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut bytes = (data.len() as u32).to_be_bytes().to_vec();
    let named = [name, data].concat();
    let mut crc = flate2::Crc::new();
    crc.update(&named);
    bytes.extend(&named);
    bytes.extend(crc.sum().to_be_bytes());
    bytes
}

fn packed(data: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn png(size: [u32; 2], kind: [u8; 2], before: &[u8], pixels: &[u8]) -> Vec<u8> {
    let mut header = size.map(u32::to_be_bytes).concat();
    header.extend([kind[0], kind[1], 0, 0, 0]);
    let parts = [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        chunk(b"IHDR", &header),
        before.to_vec(),
        chunk(b"IDAT", &packed(pixels)),
        chunk(b"IEND", b""),
    ];
    parts.concat()
}

/// Each form with a size in its header that its bytes do not bear out.
fn claims(side: u32) -> Vec<(&'static str, Vec<u8>)> {
    let low = side.to_le_bytes();
    let short = (side as u16).to_le_bytes();
    let bmp = |bits: u8, packing: u8| {
        let mut bytes = b"BM".to_vec();
        bytes.extend([54, 0, 0, 0, 0, 0, 0, 0, 62, 0, 0, 0, 40, 0, 0, 0]);
        bytes.extend([low, low].concat());
        bytes.extend([1, 0, bits, 0, packing, 0, 0, 0]);
        bytes.extend([0; 12]);
        bytes.extend([2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 0]);
        bytes
    };
    let mut gif = b"GIF89a".to_vec();
    gif.extend([short, short].concat());
    gif.extend(b"\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0");
    gif.extend([short, short].concat());
    gif.extend(b"\0\x02\x02\x44\x01\0;");
    let tga = |kind: u8| {
        let mut bytes = vec![0, 0, kind, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend([short, short].concat());
        bytes.extend([24, 0, 1, 2, 3, 4]);
        bytes
    };
    let mut jpeg = encoded(ImageFormat::Jpeg);
    let frame = jpeg.windows(2).position(|w| w == b"\xff\xc0").unwrap();
    let big = (side as u16).to_be_bytes();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[big, big].concat());
    let mut qoi = b"qoif".to_vec();
    qoi.extend([side.to_be_bytes(), side.to_be_bytes()].concat());
    qoi.extend([3, 0, 1, 2, 3, 4]);
    vec![
        ("a.png", png([side, side], [8, 2], &[], &[0])),
        ("bits.png", png([side, side], [1, 0], &[], &[0])),
        ("a.bmp", bmp(24, 0)),
        ("bits.bmp", bmp(1, 0)),
        ("packed.bmp", bmp(8, 1)),
        ("a.gif", gif),
        ("a.tga", tga(2)),
        ("packed.tga", tga(10)),
        ("a.jpg", jpeg),
        ("a.qoi", qoi),
        ("a.ppm", format!("P6 {side} {side} 255\n123").into_bytes()),
        ("a.tif", tiff([side, side], &[])),
        ("packed.tif", tiff([side, side], &[(259, 5)])),
        ("deflated.tif", tiff([side, side], &[(259, 8)])),
    ]
}

#[test]
fn a_claim_above_the_limit_is_refused_with_its_size() {
    for (name, bytes) in claims(60_000) {
        refused(
            name,
            &bytes,
            &["60000 x 60000", "3600 megapixels", "at most 300"],
        );
    }
    let (_keep, path) = file("a.png", &encoded(ImageFormat::Png));
    let key = "subjects.max_megapixels";
    let megapixels = 0.001;
    let error = read(&path, Limit { megapixels, key }).unwrap_err();
    let text = format!("{error:#}");
    assert!(
        text.contains("48 x 32") && text.contains("raise subjects.max_megapixels"),
        "{text}"
    );
    let megapixels = 0.001_536;
    assert_eq!(
        read(&path, Limit { megapixels, key }).unwrap().picture,
        sample()
    );
}

#[test]
fn a_claim_that_the_file_cannot_hold_is_refused() {
    for (name, bytes) in claims(16_000) {
        refused(name, &bytes, &["16000 x 16000", "cannot hold"]);
    }
    let empty = png([0, 5], [8, 2], &[], &[]);
    refused("a.png", &empty, &["0 x 5"]);
    let long = png([u32::MAX >> 1, u32::MAX >> 1], [8, 2], &[], &[0]);
    refused("a.png", &long, &["2147483647 x 2147483647"]);
}

/// Profiles and texts that unpack to a thousand times their length.
#[test]
fn what_is_packed_beside_the_pixels_is_bounded() {
    let zeros = packed(&vec![b'0'; 32 << 20]);
    let plain = png([4, 4], [8, 2], &[], &[0; 13 * 4]);
    let (_keep, path) = file("a.png", &plain);
    let expected = load(path).unwrap();
    for (name, keyword) in [
        (b"zTXt", "Raw profile type exif\0\0"),
        (b"iCCP", "a\0\0"),
        (b"iTXt", "XML:com.adobe.xmp\0\x01\0\0\0"),
    ] {
        let more = chunk(name, &[keyword.as_bytes(), &zeros].concat());
        let (_keep, path) = file("b.png", &png([4, 4], [8, 2], &more, &[0; 13 * 4]));
        assert_eq!(load(path).unwrap(), expected, "{keyword}");
    }
}

#[test]
fn what_is_noticed() {
    let seen = |name: &str, bytes: &[u8]| {
        let (_keep, path) = file(name, bytes);
        read(path, Limit::default()).unwrap().seen
    };
    let golden = |name: &str| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/pictures/");
        seen(name, &fs::read(format!("{folder}{name}")).unwrap())
    };
    for name in [
        "xmp.jpg",
        "exif.webp",
        "late-exif.png",
        "profile.png",
        "turned.tif",
    ] {
        assert!(golden(name).turned, "{name}");
    }
    for name in ["clear.gif", "alpha.tga", "alpha.qoi", "palette-clear.png"] {
        assert!(golden(name).transparent, "{name}");
    }
    for name in ["moving.gif", "moving.png", "moving.webp"] {
        assert!(golden(name).animated, "{name}");
    }
    assert_eq!(golden("odd-422.jpg"), golden("two.mpo"), "nothing");
    let profile = |text: &str| {
        let mut profile = vec![0; 128];
        profile.extend([0, 0, 0, 1]);
        profile.extend(b"desc\0\0\0\x90\0\0\0\x40");
        profile.extend(b"desc\0\0\0\0\0\0\0\x40");
        profile.extend(text.as_bytes());
        profile.resize(0x90 + 0x60, 0);
        let data = [b"icc\0\0".to_vec(), packed(&profile)].concat();
        seen(
            "a.png",
            &png([4, 4], [8, 2], &chunk(b"iCCP", &data), &[0; 13 * 4]),
        )
        .profile
    };
    assert_eq!(profile("Display P3").as_deref(), Some("Display P3"));
    assert_eq!(profile("sRGB IEC61966-2.1"), None);
}

#[cfg(unix)]
#[test]
fn only_regular_files_are_opened() {
    let folder = tempfile::tempdir().unwrap();
    let text = |name: &str| format!("{:#}", load(folder.path().join(name)).unwrap_err());
    fs::create_dir(folder.path().join("a.jpg")).unwrap();
    assert!(text("a.jpg").contains("no regular file"));
    std::os::unix::fs::symlink("/dev/zero", folder.path().join("b.jpg")).unwrap();
    assert!(text("b.jpg").contains("no regular file"));
    assert!(text("new\nline\x1b[2J.jpg").contains("new\\u{a}line\\u{1b}[2J.jpg"));
}
