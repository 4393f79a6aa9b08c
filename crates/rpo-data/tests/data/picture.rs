//! Decoding, cropping, resizing and writing pictures.

use std::fs;
use std::io::Cursor;

use image::codecs::{jpeg::JpegEncoder, png::PngEncoder};
use image::{
    DynamicImage, ExtendedColorType, ImageEncoder, ImageFormat, Luma, LumaA, Rgb, RgbImage, Rgba,
    imageops::crop_imm,
};
use proptest::prelude::*;
use rpo_data::picture::{center_square, load, png_bytes, resize, save_png, square_at, square_box};
use rpo_data::resample::{Filter, resize_rgb};

/// A 6 x 4 picture in which all pixels differ.
fn sample() -> RgbImage {
    RgbImage::from_fn(6, 4, |x, y| {
        Rgb([x as u8 * 40, y as u8 * 60, (x * y) as u8 * 10])
    })
}

/// The TIFF block for a rotation by 90 degrees clockwise (orientation 6).
fn turned() -> Vec<u8> {
    let mut exif = b"II*\0\x08\0\0\0\x01\0".to_vec();
    exif.extend([0x12, 0x01, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0]);
    exif
}

fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn encoded(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

#[test]
fn orientation_of_png_and_jpeg_is_applied() {
    let (w, h) = sample().dimensions();
    let upright = image::imageops::rotate90(&sample());
    let mut png = Vec::new();
    let mut encoder = PngEncoder::new(&mut png);
    encoder.set_exif_metadata(turned()).unwrap();
    encoder
        .write_image(sample().as_raw(), w, h, ExtendedColorType::Rgb8)
        .unwrap();
    let (_keep, path) = file("turned.png", &png);
    assert_eq!(load(path).unwrap(), upright);

    let big = resize(&sample(), 96, 64);
    let mut jpeg = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut jpeg, 95);
    encoder.set_exif_metadata(turned()).unwrap();
    encoder
        .write_image(big.as_raw(), 96, 64, ExtendedColorType::Rgb8)
        .unwrap();
    let (_keep, path) = file("turned.jpg", &jpeg);
    let seen = load(path).unwrap();
    assert_eq!(seen.dimensions(), (64, 96));
    let expected = image::imageops::rotate90(&big);
    let mean = seen
        .as_raw()
        .iter()
        .zip(expected.as_raw())
        .map(|(a, b)| f64::from(a.abs_diff(*b)))
        .sum::<f64>()
        / expected.as_raw().len() as f64;
    assert!(
        mean < 5.0,
        "JPEG at quality 95 is within 5/255 on average: {mean}"
    );
}

#[test]
fn every_kind_of_pixel_becomes_rgb() {
    let check = |name: &str, bytes: Vec<u8>, expected: [u8; 3], tolerance: u8| {
        let (_keep, path) = file(name, &bytes);
        let Rgb(seen) = *load(path).unwrap().get_pixel(1, 1);
        assert!(
            seen.iter()
                .zip(expected)
                .all(|(a, b)| a.abs_diff(b) <= tolerance),
            "{name}: {seen:?}, not {expected:?}"
        );
    };
    let grey = image::GrayImage::from_pixel(4, 4, Luma([90]));
    check(
        "grey.png",
        encoded(grey.clone(), ImageFormat::Png),
        [90; 3],
        0,
    );
    check("grey.jpg", encoded(grey, ImageFormat::Jpeg), [90; 3], 1);
    // Transparency is dropped, as by `convert("RGB")`.
    let grey_alpha = image::GrayAlphaImage::from_pixel(4, 4, LumaA([70, 51]));
    check(
        "grey_alpha.png",
        encoded(grey_alpha, ImageFormat::Png),
        [70; 3],
        0,
    );
    let rgba = image::RgbaImage::from_pixel(4, 4, Rgba([255, 0, 100, 0]));
    let clear = encoded(rgba, ImageFormat::Png);
    check("clear.png", clear, [255, 0, 100], 0);
    let half = image::RgbaImage::from_pixel(4, 4, Rgba([255, 0, 100, 128]));
    check(
        "half.webp",
        encoded(half, ImageFormat::WebP),
        [255, 0, 100],
        0,
    );
    let deep = image::ImageBuffer::from_pixel(4, 4, Rgb([65535u16, 255, 32768 + 255]));
    check(
        "deep.png",
        encoded(DynamicImage::ImageRgb16(deep.clone()), ImageFormat::Png),
        [255, 0, 128],
        0,
    );
    check(
        "deep.tiff",
        encoded(DynamicImage::ImageRgb16(deep), ImageFormat::Tiff),
        [255, 0, 128],
        0,
    );
    for (name, format) in [
        ("a.bmp", ImageFormat::Bmp),
        ("a.gif", ImageFormat::Gif),
        ("webp named.jpg", ImageFormat::WebP),
    ] {
        check(
            name,
            encoded(RgbImage::from_pixel(4, 4, Rgb([200, 30, 90])), format),
            [200, 30, 90],
            4,
        );
    }
    // Red in CMYK, as written by an image program.
    let cmyk = load(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/golden/cmyk.jpg"
    ))
    .unwrap();
    let Rgb([r, g, b]) = *cmyk.get_pixel(8, 8);
    assert!(r > 240 && g < 30 && b < 30, "{r} {g} {b}");
}

#[test]
fn errors_name_the_file_and_the_hint() {
    let error = |name: &str, bytes: &[u8]| {
        let (_keep, path) = file(name, bytes);
        let text = format!("{:#}", load(&path).unwrap_err());
        assert!(text.contains(name), "{text}");
        text
    };
    assert!(error("words.jpg", b"this is no picture").contains("convert it to JPEG or PNG"));
    assert!(error("nothing.png", b"").contains("empty"));
    let png = png_bytes(&resize(&sample(), 60, 40));
    assert!(error("short.png", &png[..png.len() / 2]).contains("cut short"));
    let jpeg = encoded(resize(&sample(), 60, 40), ImageFormat::Jpeg);
    assert!(error("short.jpg", &jpeg[..20]).contains("cut short"));
    assert!(format!("{:#}", load("missing/photo.jpg").unwrap_err()).contains("missing/photo.jpg"));
}

#[test]
fn a_png_comes_back_as_it_was_and_leaves_nothing_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("picture.png");
    save_png(&path, &RgbImage::new(3, 3)).unwrap();
    save_png(&path, &sample()).unwrap();
    assert_eq!(load(&path).unwrap(), sample());
    assert_eq!(fs::read(&path).unwrap(), png_bytes(&sample()));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    let missing = folder.path().join("no such folder").join("picture.png");
    assert!(format!("{:#}", save_png(missing, &sample()).unwrap_err()).contains("no such folder"));
    assert!(save_png(&path, &RgbImage::new(0, 3)).is_err());
    assert_eq!(
        load(&path).unwrap(),
        sample(),
        "a failed write leaves the old file alone"
    );
}

/// Bit for bit, with every filter, smaller, larger and both at once.
#[test]
fn resizing_equals_pillow() {
    let golden = |name: &str| {
        load(format!(
            "{}/tests/golden/{name}",
            env!("CARGO_MANIFEST_DIR")
        ))
        .unwrap()
    };
    let part = crop_imm(&golden("stickers.png"), 0, 0, 301, 203).to_image();
    let expected = golden("resized.png");
    let mut top = 0;
    for filter in [Filter::Bilinear, Filter::Bicubic, Filter::Lanczos] {
        for (w, h) in [(64, 64), (33, 70), (97, 21), (310, 230)] {
            let pillow = crop_imm(&expected, 0, top, w, h).to_image();
            assert!(
                resize_rgb(&part, w, h, filter) == pillow,
                "{filter:?} to {w} x {h}"
            );
            top += h;
        }
    }
}

#[test]
fn crops() {
    assert_eq!(square_box(6, 4, 0.5, 0.5), (1, 0, 4));
    assert_eq!(square_box(4, 7, 0.5, 0.5), (0, 1, 4));
    assert_eq!(square_box(6, 4, 1.0, 1.0), (2, 0, 4));
    assert_eq!(square_box(6, 4, -3.0, f64::NAN), (0, 0, 4));
    assert_eq!(square_box(0, 9, 0.5, 0.5), (0, 4, 0));
    assert_eq!(
        center_square(&sample(), 4),
        crop_imm(&sample(), 1, 0, 4, 4).to_image()
    );
    assert_eq!(
        square_at(&sample(), 4, 1.0, 0.0),
        crop_imm(&sample(), 2, 0, 4, 4).to_image()
    );
    let square = resize(&sample(), 8, 8);
    assert_eq!(center_square(&square, 8), square);
    assert_eq!(center_square(&RgbImage::new(0, 9), 8), RgbImage::new(8, 8));
}

proptest! {
    #[test]
    fn squares_fit(w in 1u32..5000, h in 1u32..5000, across in 0.0f64..=1.0, down in 0.0f64..=1.0) {
        let (x, y, side) = square_box(w, h, across, down);
        prop_assert_eq!(side, w.min(h));
        prop_assert!(x + side <= w && y + side <= h);
        let (x, y, _) = square_box(w, h, 0.5, 0.5);
        prop_assert!((w - side - x) - x <= 1 && (h - side - y) - y <= 1);
    }

    #[test]
    fn one_colour_stays_one_colour(w in 1u32..60, h in 1u32..60, size in 1u32..60, colour: [u8; 3]) {
        let plain = RgbImage::from_pixel(w, h, Rgb(colour));
        prop_assert_eq!(center_square(&plain, size), RgbImage::from_pixel(size, size, Rgb(colour)));
    }
}

#[test]
fn a_jpeg_that_ends_early_is_refused() {
    let big = resize(&sample(), 96, 64);
    let whole = encoded(big, ImageFormat::Jpeg);
    let (_keep, path) = file("half.jpg", &whole[..whole.len() * 2 / 3]);
    let error = format!("{:#}", load(path).unwrap_err());
    assert!(
        error.contains("half.jpg") && error.contains("ends before"),
        "{error}"
    );
    // Bytes after the end, as some phones write them, are ignored.
    let mut longer = whole.clone();
    longer.extend(b"trailer");
    let (_keep, path) = file("longer.jpg", &longer);
    let (_keep2, plain) = file("plain.jpg", &whole);
    assert_eq!(load(path).unwrap(), load(plain).unwrap());
}

/// Every file of the golden folder has Pillow's reading of it beside it, as `<file>.rgb.png`.
#[test]
fn files_are_read_as_pillow_reads_them() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pictures");
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let expected = path.with_file_name(format!(
            "{}.rgb.png",
            path.file_name().unwrap().to_string_lossy()
        ));
        if expected.exists() {
            let (got, want) = (load(&path).unwrap(), load(&expected).unwrap());
            assert_eq!(got.dimensions(), want.dimensions(), "{}", path.display());
            assert!(got == want, "{}", path.display());
            seen += 1;
        }
    }
    assert_eq!(seen, 41);
}
