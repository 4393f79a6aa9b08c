//! Masks of photos, from the file to the latents' cells.

use std::fs;
use std::path::{Path, PathBuf};

use image::{DynamicImage, GrayImage, Luma, Rgb, RgbImage, Rgba, RgbaImage};
use proptest::prelude::*;
use rpo_data::mask::Mask;
use rpo_data::picture::{Limit, png_bytes, square_box};
use rpo_data::stickerbench::{self, sticker};
use rpo_data::subject::{PhotoMask, Subject, list, load_folder, look};

/// A folder with photos of 6 x 4.
fn folder(photos: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("rex");
    fs::create_dir_all(&path).unwrap();
    for photo in photos {
        let picture = RgbImage::from_pixel(6, 4, Rgb([9, 8, 7]));
        fs::write(path.join(photo), png_bytes(&picture)).unwrap();
    }
    (root, path)
}

/// White on the left.
fn half(width: u32, height: u32) -> GrayImage {
    GrayImage::from_fn(width, height, |x, _| Luma([255 * u8::from(x < width / 2)]))
}

fn save(picture: impl Into<DynamicImage>, path: &Path) {
    let format = image::ImageFormat::Png;
    picture.into().save_with_format(path, format).unwrap();
}

fn read(path: &Path) -> anyhow::Result<Subject> {
    load_folder(path, Some("dog"), "[v]", Limit::default())
}

fn error(path: &Path) -> String {
    format!("{:#}", read(path).unwrap_err())
}

fn mask(subject: &Subject, index: usize) -> &PhotoMask {
    subject.references[index].mask.as_ref().unwrap()
}

#[test]
fn a_grey_file_beside_a_photo_is_its_mask_and_no_photo() {
    let (_keep, path) = folder(&["a.jpg", "b.png", "c.png", "mask.png"]);
    save(half(6, 4), &path.join("a.mask.png"));
    // Grey in three channels, and named after the whole file.
    let white = GrayImage::from_pixel(6, 4, Luma([255]));
    let white = DynamicImage::ImageLuma8(white).into_rgb8();
    save(white, &path.join("b.png.MASK.PNG"));
    save(half(6, 4), &path.join("gone.mask.png"));
    let listing = list(&path).unwrap();
    assert_eq!((listing.photos.len(), listing.masks.len()), (4, 3));
    let found = look(&path, Some("dog"), "[v]").unwrap();
    assert_eq!((found.photos.len(), found.masks.len()), (4, 3));
    let subject = read(&path).unwrap();
    assert_eq!(subject.references.len(), 4);
    assert_eq!(mask(&subject, 0).picture, half(6, 4));
    assert_eq!(mask(&subject, 0).file, "a.mask.png");
    assert_eq!(mask(&subject, 1).picture.get_pixel(5, 3).0, [255]);
    assert!(subject.references[2].mask.is_none() && subject.references[3].mask.is_none());
    let told = ["gone.mask.png (a mask without its photo)"];
    assert_eq!(subject.passed_over, told);
    // A folder of masks alone has no photo.
    for photo in ["a.jpg", "b.png", "c.png", "mask.png"] {
        fs::remove_file(path.join(photo)).unwrap();
    }
    let said = error(&path);
    assert!(
        said.contains("holds no photo") && said.contains("a.mask.png"),
        "{said}"
    );
}

#[test]
fn masks_that_do_not_fit_are_refused_by_name() {
    let (_keep, path) = folder(&["a.jpg"]);
    let file = path.join("a.mask.png");
    let refused = |picture: DynamicImage, words: &[&str]| {
        save(picture, &file);
        let said = error(&path);
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
        assert!(
            said.contains("a.mask.png") && said.contains("hint: "),
            "{said}"
        );
    };
    // The photo is not turned, so a turned mask does not fit either.
    for (width, height) in [(6, 5), (4, 6), (12, 8)] {
        let size = format!("{width} x {height}");
        refused(half(width, height).into(), &[&size, "6 x 4", "a.jpg"]);
    }
    let red = RgbImage::from_pixel(6, 4, Rgb([255, 0, 0]));
    refused(red.into(), &["not grey", "(255, 0, 0)"]);
    let cut = RgbaImage::from_pixel(6, 4, Rgba([255, 255, 255, 9]));
    refused(cut.into(), &["transparent"]);
    fs::write(&file, "no picture").unwrap();
    assert!(error(&path).contains("a.mask.png"));
    save(half(6, 4), &file);
    save(half(6, 4), &path.join("a.jpg.mask.png"));
    assert!(error(&path).contains("two masks"));
}

#[test]
fn transparency_is_a_mask_unless_a_file_is() {
    let (_keep, path) = folder(&[]);
    let cut = |x: u32| Rgba([50, 60, 70, 255 * u8::from(x < 3)]);
    save(RgbaImage::from_fn(6, 4, |x, _| cut(x)), &path.join("a.png"));
    save(
        RgbaImage::from_pixel(6, 4, Rgba([1, 2, 3, 255])),
        &path.join("b.png"),
    );
    let subject = read(&path).unwrap();
    assert_eq!(mask(&subject, 0).picture, half(6, 4));
    assert_eq!(mask(&subject, 0).file, "a.png");
    assert!(subject.references[1].mask.is_none(), "opaque");
    let white = GrayImage::from_pixel(6, 4, Luma([255]));
    save(white.clone(), &path.join("a.mask.png"));
    assert_eq!(mask(&read(&path).unwrap(), 0).picture, white);
}

/// A TIFF block with an orientation alone.
fn exif(orientation: u8) -> Vec<u8> {
    let mut block = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    block.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
    block
}

/// A PNG with an orientation, as it is stored.
fn turned(picture: impl Into<DynamicImage>, orientation: u8) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let format = image::ImageFormat::Png;
    picture.into().write_to(&mut bytes, format).unwrap();
    let bytes = bytes.into_inner();
    // After the header, which is of 33 bytes; checksums of such chunks are not read.
    let block = exif(orientation);
    let mut chunk = (block.len() as u32).to_be_bytes().to_vec();
    chunk.extend(b"eXIf");
    chunk.extend(&block);
    chunk.extend(crc(&chunk[4..]).to_be_bytes());
    [&bytes[..33], &chunk, &bytes[33..]].concat()
}

fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
    let byte = |crc: u32, b: &u8| (0..8).fold(crc ^ u32::from(*b), |crc, _| step(crc));
    !bytes.iter().fold(!0, byte)
}

#[test]
fn masks_follow_the_turn_of_their_photo() {
    // Stored 6 x 4, shown 4 x 6, turned by a quarter to the right: what was on the left is above.
    let (_keep, path) = folder(&[]);
    let above = GrayImage::from_fn(4, 6, |_, y| Luma([255 * u8::from(y < 3)]));
    let photo = turned(RgbImage::from_pixel(6, 4, Rgb([9, 8, 7])), 6);
    fs::write(path.join("a.png"), photo).unwrap();
    let file = path.join("a.mask.png");
    // Of the photo as it is shown; as it is stored; as it is stored, with the same orientation.
    save(above.clone(), &file);
    assert_eq!(mask(&read(&path).unwrap(), 0).picture, above);
    save(half(6, 4), &file);
    assert_eq!(mask(&read(&path).unwrap(), 0).picture, above);
    fs::write(&file, turned(half(6, 4), 6)).unwrap();
    assert_eq!(mask(&read(&path).unwrap(), 0).picture, above);
    // Transparency turns with its pixels.
    let cut = |x: u32| Rgba([50, 60, 70, 255 * u8::from(x < 3)]);
    let photo = turned(RgbaImage::from_fn(6, 4, |x, _| cut(x)), 6);
    fs::write(path.join("a.png"), photo).unwrap();
    fs::remove_file(&file).unwrap();
    assert_eq!(mask(&read(&path).unwrap(), 0).picture, above);
}

#[test]
fn rendered_subjects_have_their_true_masks() {
    for subject in stickerbench::subjects(0, 2, 64) {
        let look = subject.look.as_ref().unwrap();
        for (i, reference) in subject.references.iter().enumerate() {
            let drawn = stickerbench::subjects::reference(0, look, i);
            let mask = &reference.mask.as_ref().unwrap().picture;
            assert_eq!(*mask, sticker::mask(&drawn.sticker));
            let share = mask.pixels().filter(|p| p.0[0] > 127).count() as f64 / 4096.0;
            assert!((0.02..0.8).contains(&share), "{share}");
        }
    }
}

#[test]
fn cells_hold_the_mean_over_their_area() {
    // 4 x 2 pixels.
    let mask = Mask::from_fn(4, 2, |x, y| {
        [[1.0, 0.0, 0.0, 1.0], [1.0, 0.5, 0.0, 0.0]][y][x]
    });
    let whole = mask.area([0.0, 0.0, 4.0, 2.0], 2, 1);
    assert_eq!(
        (whole.dimensions(), whole.values()),
        ((2, 1), &[0.625, 0.25][..])
    );
    // Borders within pixels: half of the second column, the third, half of the fourth.
    let part = mask.area([1.5, 0.0, 2.0, 1.0], 1, 1);
    assert_eq!(part.values(), [0.25]);
    // Enlarged, a pixel is repeated; what lies outside does not count.
    let larger = mask.area([-1.0, 0.0, 2.0, 1.0], 4, 1);
    assert_eq!(larger.values(), [0.0, 0.0, 1.0, 1.0]);
    assert_eq!(
        mask.mirrored().values(),
        [1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.5, 1.0]
    );
    assert!(!mask.is_empty() && Mask::from_fn(2, 2, |_, _| 0.0).is_empty());
    assert_eq!(Mask::of(&half(2, 1)).values(), [1.0, 0.0]);
}

proptest! {
    /// The slow way: every pixel of every block.
    #[test]
    fn whole_cells_are_the_means_of_their_pixels(
        pixels in prop::collection::vec(0u8..=255, 12 * 8),
        left in 0usize..5,
        cell in 1usize..5,
    ) {
        let picture = GrayImage::from_raw(12, 8, pixels).unwrap();
        let mask = Mask::of(&picture);
        let cells = 8 / cell;
        let side = (cells * cell) as f64;
        let found = mask.area([left as f64, 0.0, side, side], cells, cells);
        for row in 0..cells {
            for column in 0..cells {
                let mut sum = 0.0;
                for y in 0..cell {
                    for x in 0..cell {
                        let (x, y) = (left + column * cell + x, row * cell + y);
                        sum += f64::from(picture.get_pixel(x as u32, y as u32).0[0]) / 255.0;
                    }
                }
                let mean = sum / (cell * cell) as f64;
                let value = f64::from(found.values()[row * cells + column]);
                prop_assert!((value - mean).abs() < 1e-6, "{} {}", value, mean);
            }
        }
        // Mirroring before is mirroring after.
        let room = 12.0 - side - left as f64;
        let before = mask.mirrored().area([room, 0.0, side, side], cells, cells);
        for (a, b) in before.values().iter().zip(found.mirrored().values()) {
            prop_assert!((a - b).abs() < 1e-6);
        }
    }

    #[test]
    fn every_square_is_looked_at(
        (width, height) in (1u32..9, 1u32..9),
        place in (0.0..1.0f64, 0.0..1.0f64),
        at in prop::collection::vec(0.0..1.0f64, 20),
    ) {
        let (x, y) = ((f64::from(width) * place.0) as usize, (f64::from(height) * place.1) as usize);
        let one = |column, row| f32::from(u8::from((column, row) == (x, y)));
        let mask = Mask::from_fn(width as usize, height as usize, one);
        let holds = |at: f64| {
            let (left, top, side) = square_box(width, height, at, at);
            let box_of = [left, top, side, side].map(f64::from);
            !mask.area(box_of, side as usize, side as usize).is_empty()
        };
        let all = mask.is_in_every_square();
        // A square that misses the pixel lies at one of the ends, if anywhere.
        let drawn: Vec<bool> = at.iter().chain(&[0.0, 1.0]).map(|at| holds(*at)).collect();
        prop_assert_eq!(all, drawn.iter().all(|holds| *holds));
    }
}
