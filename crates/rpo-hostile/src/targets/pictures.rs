//! Pictures of every format, and folders of photos with their captions.

use super::made::{file, named};
use crate::case::Case;
use crate::target::{Target, ensure_fault};
use anyhow::Result;
use image::{DynamicImage, ImageFormat, RgbImage};
use rpo_data::picture::{self, Limit};
use rpo_data::subject;
use std::io::Cursor;

/// The name says nothing: the content decides.
const NAME: &str = "picture";

/// Pixels of the largest picture that is read: bounds on memory follow.
const PIXELS: u64 = 400_000_000;

fn small() -> DynamicImage {
    RgbImage::from_fn(19, 13, |x, y| {
        image::Rgb([(x * 13) as u8, (y * 19) as u8, (x * y) as u8])
    })
    .into()
}

fn encoded(picture: &DynamicImage, format: ImageFormat) -> Result<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format)?;
    Ok(bytes.into_inner())
}

/// One file of each kind.
fn all() -> Result<Vec<Vec<u8>>> {
    let colours: DynamicImage = small();
    let mut all = Vec::new();
    for format in [
        ImageFormat::Png,
        ImageFormat::Jpeg,
        ImageFormat::Gif,
        ImageFormat::Bmp,
        ImageFormat::Tiff,
        ImageFormat::WebP,
    ] {
        all.push(encoded(&colours, format)?);
    }
    let png: [DynamicImage; 4] = [
        colours.to_luma8().into(),
        colours.to_rgba8().into(),
        colours.to_luma16().into(),
        colours.to_rgba16().into(),
    ];
    for picture in png {
        all.push(encoded(&picture, ImageFormat::Png)?);
    }
    for picture in [
        DynamicImage::from(colours.to_luma8()),
        DynamicImage::from(colours.to_rgb16()),
    ] {
        all.push(encoded(&picture, ImageFormat::Tiff)?);
    }
    let grey = encoded(&colours.to_luma8().into(), ImageFormat::Jpeg)?;
    all.push(grey);
    let jpeg = encoded(&colours, ImageFormat::Jpeg)?;
    all.push(rotated(&jpeg));
    // A motion photo, and several pictures in one file.
    all.push(
        [
            &jpeg,
            &b"\0\0\0\x18ftypmp42\0\0\0\0isommp42\xff\xda\0\x01"[..],
        ]
        .concat(),
    );
    all.push([jpeg.as_slice(), jpeg.as_slice()].concat());
    all.push([&b"P6\n19 13\n255\n"[..], &small().into_bytes()].concat());
    all.push(
        [
            &[0u8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 19, 0, 13, 0, 24, 0x20][..],
            &small().into_bytes(),
        ]
        .concat(),
    );
    for name in ["alpha", "grey"] {
        all.push(file(&format!(
            "crates/rpo-encoders/tests/golden/pictures/{name}.png"
        ))?);
    }
    Ok(all)
}

/// A JPEG that says in EXIF that it lies on its side.
fn rotated(jpeg: &[u8]) -> Vec<u8> {
    let exif =
        b"\xff\xe1\0\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    [&jpeg[..2], exif, &jpeg[2..]].concat()
}

pub(super) const PICTURE: Target = Target {
    // Decoded in the file's own form, turned, and as RGB; small files may be large pictures.
    memory: 256 << 20,
    ..Target::new(
        "picture",
        "a picture of any format",
        || Ok(named(NAME, all()?)),
        |folder| {
            let picture = picture::load(folder.join(NAME))?;
            let (width, height) = picture.dimensions();
            let pixels = u64::from(width) * u64::from(height);
            ensure_fault(pixels > 0 && pixels <= PIXELS, || {
                format!("{width} x {height} pixels")
            })
        },
    )
};

pub(super) const PHOTOS: Target = Target {
    memory: 256 << 20,
    ..Target::new(
        "photos",
        "a folder of photos, with captions in every form, and masks",
        || {
            let photo = encoded(&small(), ImageFormat::Png)?;
            let jpeg = encoded(&small(), ImageFormat::Jpeg)?;
            let plain = Case::of("00.png", photo.clone()).with("01.jpg", jpeg);
            let texts = plain
                .clone()
                .with("00.txt", "a photo of [V] dog\n")
                .with("01.txt", "a [V] dog, outdoors");
            let table = "{\"file_name\": \"00.png\", \"text\": \"a [V] dog\"}\n{\"file_name\": \"01.jpg\", \"text\": \"[V] dog\"}\n";
            let kohya = Case::of("10_sks dog/00.png", photo.clone());
            let classes = Case::of("dog6/00.png", photo).with(
                "prompts_and_classes.txt",
                "subject_name,class\ndog6,dog\n\nObject Prompts\n",
            );
            let grey = encoded(&small().to_luma8().into(), ImageFormat::Png)?;
            let clear = encoded(&small().to_rgba8().into(), ImageFormat::Png)?;
            let masked = plain
                .clone()
                .with("00.mask.png", grey)
                .with("02.png", clear);
            let many = plain.clone().with("metadata.jsonl", table);
            Ok(vec![plain, texts, many, masked, kohya, classes])
        },
        |folder| {
            for (dir, class) in [("", Some("dog")), ("10_sks dog", None), ("dog6", None)] {
                let dir = folder.join(dir);
                if class.is_none() && !dir.is_dir() {
                    continue;
                }
                let subject = subject::load_folder(&dir, class, "[V]", Limit::default())?;
                ensure_fault(!subject.references.is_empty(), || "no photo".into())?;
                for reference in &subject.references {
                    let Some(mask) = &reference.mask else {
                        continue;
                    };
                    let (own, photo) = (mask.picture.dimensions(), reference.picture.dimensions());
                    ensure_fault(own == photo, || format!("a mask {own:?} of {photo:?}"))?;
                }
                let whole =
                    |caption: &str| !caption.trim().is_empty() && !caption.contains('\u{fffd}');
                let captions = subject
                    .references
                    .iter()
                    .filter_map(|r| r.caption.as_deref());
                let mut odd = captions.filter(|c| !whole(c));
                ensure_fault(odd.next().is_none(), || {
                    "a caption that is empty or not as written".into()
                })?;
            }
            Ok(())
        },
    )
};
