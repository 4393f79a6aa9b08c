//! StickerBench as a folder: what is written is read as DreamBench is, and is exact.

use std::collections::BTreeMap;
use std::path::Path;

use image::DynamicImage;
use rpo_data::picture::Limit;
use rpo_data::stickerbench::caption::Caption;
use rpo_data::stickerbench::dataset::{Dataset, MOST_SUBJECTS};
use rpo_data::stickerbench::scene;
use rpo_data::stickerbench::world::Picture;
use rpo_data::stickerbench::{REFERENCE_SCENES, subjects};
use rpo_data::subject::load_folder;

fn written(seed: u64, subjects: usize, references: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let dataset = Dataset {
        seed,
        subjects,
        references,
    };
    dataset.write(folder.path()).unwrap();
    folder
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).unwrap().flatten() {
            if entry.path().is_dir() {
                open.push(entry.path());
            } else {
                let name = entry
                    .path()
                    .strip_prefix(folder)
                    .unwrap()
                    .display()
                    .to_string();
                found.insert(name, std::fs::read(entry.path()).unwrap());
            }
        }
    }
    found
}

#[test]
fn the_folder_is_read_as_dreambench_is() {
    let folder = written(3, 2, 5);
    let rendered = subjects(3, 2, 64);
    for want in &rendered {
        let path = folder.path().join("dataset").join(&want.name);
        let read = load_folder(path, None, "[v]", Limit::default()).unwrap();
        assert_eq!((&read.name, &read.class), (&want.name, &want.class));
        assert_eq!(read.live, want.live);
        assert!(
            read.passed_over.is_empty() && read.notes.is_empty(),
            "{read:?}"
        );
        assert_eq!(read.references.len(), 5);
        for (i, (a, b)) in read.references.iter().zip(&want.references).enumerate() {
            assert_eq!(a.picture, b.picture, "as the embedded world draws it");
            let caption = Caption::parse(a.caption.as_deref().unwrap()).unwrap();
            assert_eq!(caption.scene, Some(REFERENCE_SCENES[i % 2]));
            assert!(caption.token && caption.noun == want.class);
        }
    }
}

#[test]
fn masks_are_where_the_sticker_is() {
    let folder = written(0, 3, 2);
    let rows = std::fs::read_to_string(folder.path().join("subjects.jsonl")).unwrap();
    assert_eq!(rows.lines().count(), 3);
    for row in rows.lines() {
        let row: serde_json::Value = serde_json::from_str(row).unwrap();
        let name = row["name"].as_str().unwrap();
        for i in 0..2 {
            let of = |part: &str| {
                let path = folder
                    .path()
                    .join(part)
                    .join(name)
                    .join(format!("0{i}.png"));
                image::open(path).unwrap()
            };
            let (photo, mask) = (of("dataset").into_rgb8(), of("masks"));
            assert!(matches!(mask, DynamicImage::ImageLuma8(_)));
            let mask = mask.into_luma8();
            let picture: Picture = serde_json::from_value(row["references"][i].clone()).unwrap();
            let behind = DynamicImage::ImageRgba8(scene::draw(&picture.scene)).into_rgb8();
            let mut covered = 0;
            for (x, y, cover) in mask.enumerate_pixels() {
                match cover.0[0] {
                    0 => assert_eq!(photo.get_pixel(x, y), behind.get_pixel(x, y)),
                    128.. => covered += 1,
                    _ => {}
                }
            }
            assert!((200..2500).contains(&covered), "{name}: {covered} pixels");
        }
    }
}

#[test]
fn more_subjects_change_none() {
    let (few, again, many) = (written(1, 4, 1), written(1, 4, 1), written(1, 152, 1));
    let (few, again, many) = (files(few.path()), files(again.path()), files(many.path()));
    assert_eq!(few, again);
    let pictures = |all: &BTreeMap<String, Vec<u8>>| {
        let of = all.iter().filter(|(name, _)| name.ends_with(".png"));
        of.map(|(a, b)| (a.clone(), b.clone())).collect::<Vec<_>>()
    };
    assert_eq!(pictures(&few).len(), 8);
    for (name, bytes) in pictures(&few) {
        assert_eq!(many.get(&name), Some(&bytes), "{name}");
    }
    let photos: Vec<_> = pictures(&many)
        .into_iter()
        .filter(|(name, _)| name.starts_with("dataset"))
        .collect();
    assert_eq!(photos.len(), 152);
    let distinct: std::collections::BTreeSet<_> = photos.iter().map(|(_, b)| b).collect();
    assert_eq!(distinct.len(), 152, "no two subjects look alike");
    let classes = String::from_utf8(many["dataset/prompts_and_classes.txt"].clone()).unwrap();
    let rounds = |ending: &str| classes.lines().filter(|l| l.contains(ending)).count();
    assert_eq!((rounds("-2,"), rounds("-3,")), (75, 2));
    assert!(String::from_utf8_lossy(&many["README.md"]).contains("CC-BY 4.0"));
}

#[test]
fn numbers_are_bounded() {
    let said = |subjects, references| {
        let dataset = Dataset {
            seed: 0,
            subjects,
            references,
        };
        let checked = dataset.check();
        checked.err().map_or_else(String::new, |e| e.to_string())
    };
    assert_eq!(said(MOST_SUBJECTS, 10), "");
    assert!(said(MOST_SUBJECTS + 1, 1).contains("at most 100000"));
    assert!(said(MOST_SUBJECTS, 11).contains("at most 1000000"));
    assert!(said(usize::MAX, usize::MAX).contains("at most"));
    assert!(said(0, 1).contains("1 or more") && said(1, 0).contains("1 or more"));
}
