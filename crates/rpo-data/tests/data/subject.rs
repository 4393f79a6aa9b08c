//! Reading subjects from folders.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};
use rpo_data::picture::{Limit, png_bytes, save_png};
use rpo_data::prompts::dreambench::SUBJECTS;
use rpo_data::subject::{is_live, load_folder};

/// A folder `name` with photos whose red is 10, 20, 30 … in the order given.
fn folder(name: &str, photos: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join(name);
    fs::create_dir_all(&path).unwrap();
    for (i, photo) in photos.iter().enumerate() {
        fs::write(
            path.join(photo),
            png_bytes(&RgbImage::from_pixel(5, 4, Rgb([10 * (i as u8 + 1), 0, 0]))),
        )
        .unwrap();
    }
    (root, path)
}

fn error(dir: &Path, class: Option<&str>) -> String {
    format!(
        "{:#}",
        load_folder(dir, class, "[V]", Limit::default()).unwrap_err()
    )
}

#[test]
fn a_flat_folder() {
    let (_keep, path) = folder("rex", &["b.png", "a.PNG", "c.jpg"]);
    fs::write(
        path.join("a.txt"),
        "\u{feff}a photo of [V] dog\n on a sofa \n",
    )
    .unwrap();
    fs::write(path.join("c.txt"), " \n").unwrap();
    fs::write(path.join("notes.txt"), "no caption").unwrap();
    fs::write(path.join(".hidden.jpg"), "no picture").unwrap();
    fs::write(path.join("Thumbs.db"), "no picture").unwrap();
    fs::create_dir(path.join("other photos")).unwrap();
    let subject = load_folder(&path, Some(" dog "), "[V]", Limit::default()).unwrap();
    assert_eq!(
        (
            subject.name.as_str(),
            subject.class.as_str(),
            subject.token.as_str()
        ),
        ("rex", "dog", "[V]")
    );
    assert!(subject.live);
    let names: Vec<_> = subject.references.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    let reds: Vec<_> = subject
        .references
        .iter()
        .map(|r| r.picture.get_pixel(0, 0).0[0])
        .collect();
    assert_eq!(reds, [20, 10, 30]);
    let captions: Vec<_> = subject
        .references
        .iter()
        .map(|r| r.caption.as_deref())
        .collect();
    assert_eq!(captions, [Some("a photo of [V] dog on a sofa"), None, None]);
}

#[test]
fn kohya_names() {
    let (root, path) = folder("10_sks red panda", &["1.png"]);
    for dir in [path.as_path(), root.path()] {
        let subject = load_folder(dir, None, "[V]", Limit::default()).unwrap();
        assert_eq!(
            (subject.token.as_str(), subject.class.as_str()),
            ("sks", "red panda")
        );
        assert_eq!(subject.references.len(), 1);
    }
    let subject = load_folder(&path, Some("bear"), "[V]", Limit::default()).unwrap();
    assert_eq!(
        (subject.token.as_str(), subject.class.as_str()),
        ("[V]", "bear")
    );
    fs::create_dir(root.path().join("5_ohwx cat")).unwrap();
    let text = error(root.path(), None);
    assert!(
        text.contains("10_sks red panda") && text.contains("5_ohwx cat"),
        "{text}"
    );
    assert!(error(&root.path().join("5_ohwx cat"), None).contains("holds no photo"));
}

#[test]
fn the_class_is_needed() {
    let (root, path) = folder("rex", &["1.png"]);
    let text = error(&path, None);
    assert!(
        text.contains("rex") && text.contains("give its class"),
        "{text}"
    );
    fs::write(
        root.path().join("prompts_and_classes.txt"),
        "Classes\n\nsubject_name,class\nrex,stuffed animal\r\n",
    )
    .unwrap();
    let subject = load_folder(&path, None, "[V]", Limit::default()).unwrap();
    assert_eq!(
        (subject.class.as_str(), subject.live),
        ("stuffed animal", false)
    );
    let other = root.path().join("fido");
    fs::rename(&path, &other).unwrap();
    assert!(error(&other, None).contains("does not list the subject \"fido\""));
}

#[test]
fn errors_name_the_path_and_the_hint() {
    let (_keep, path) = folder("rex", &[]);
    let text = error(&path, Some("dog"));
    assert!(
        text.contains("rex") && text.contains("put the subject's photos into it"),
        "{text}"
    );
    let text = error(&path.join("nowhere"), Some("dog"));
    assert!(
        text.contains("nowhere") && text.contains("does not exist"),
        "{text}"
    );
    fs::write(path.join("0.jpg"), "I am a text").unwrap();
    let text = error(&path, Some("dog"));
    assert!(
        text.contains("0.jpg") && text.contains("not a picture"),
        "{text}"
    );
    assert!(error(&path.join("0.jpg"), Some("dog")).contains("is a file"));
    fs::remove_file(path.join("0.jpg")).unwrap();
    fs::write(path.join("IMG_1.HEIC"), "photo").unwrap();
    let text = error(&path, Some("dog"));
    assert!(
        text.contains("IMG_1.HEIC") && text.contains("convert it to JPEG or PNG"),
        "{text}"
    );
    fs::remove_file(path.join("IMG_1.HEIC")).unwrap();
    save_png(path.join("1.png"), &RgbImage::new(2, 2)).unwrap();
    fs::write(path.join("1.txt"), [0xff, 0xfe, 0x41]).unwrap();
    let text = error(&path, Some("dog"));
    assert!(text.contains("1.txt") && text.contains("UTF-8"), "{text}");
}

/// The nine living subjects of DreamBench are its dogs and cats.
#[test]
fn living_subjects() {
    let live: Vec<_> = SUBJECTS
        .iter()
        .filter(|(_, class)| is_live(class))
        .map(|(name, _)| *name)
        .collect();
    assert_eq!(
        live,
        [
            "cat", "cat2", "dog", "dog2", "dog3", "dog5", "dog6", "dog7", "dog8"
        ]
    );
}

/// With DreamBench's photos beside the workspace: its folders load as they are.
#[test]
fn dreambench_folders() {
    let dataset = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/dreambench/dataset");
    if !dataset.is_dir() {
        // Not captured in a passing test: CI counts these lines.
        let _ = writeln!(
            std::io::stderr(),
            "skipped: DreamBench's photos are not here"
        );
        return;
    }
    for name in ["dog6", "backpack", "wolf_plushie"] {
        let subject = load_folder(dataset.join(name), None, "[V]", Limit::default()).unwrap();
        let class = SUBJECTS.iter().find(|(n, _)| *n == name).unwrap().1;
        assert_eq!(
            (subject.name.as_str(), subject.class.as_str(), subject.live),
            (name, class, name == "dog6")
        );
        assert!(subject.references.len() >= 4);
        assert_eq!(subject.references[0].name, "00");
        assert!(
            subject
                .references
                .iter()
                .all(|r| r.picture.width() >= 256 && r.caption.is_none())
        );
    }
}
