//! Folders of pictures of a class: which pictures, in which order, with which captions, and what is refused.

use image::{Rgb, RgbImage, RgbaImage};
use rpo_data::picture::{Limit, save_png};
use rpo_data::subject::{ClassFolder, Reference};
use std::fs;
use std::path::Path;

fn picture(shade: u8) -> RgbImage {
    RgbImage::from_pixel(12, 8, Rgb([shade, 0, 0]))
}

fn read(dir: &Path, most: usize) -> (Vec<Reference>, Vec<String>, Vec<String>) {
    let mut all = Vec::new();
    let told = ClassFolder::look(dir)
        .unwrap()
        .read(most, Limit::default(), &mut |reference| {
            all.push(reference);
            Ok(())
        })
        .unwrap();
    (all, told.notes, told.passed_over)
}

#[test]
fn the_first_pictures_by_name_with_their_captions() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (name, shade) in [("c.png", 3), ("a.png", 1), ("b.png", 2)] {
        save_png(at(name), &picture(shade)).unwrap();
    }
    fs::write(at("a.txt"), "a dog  in\nthe snow\n").unwrap();
    fs::write(at("c.caption"), "two dogs").unwrap();
    fs::write(at("notes.pdf"), "%PDF-1.4").unwrap();
    fs::create_dir(at("more")).unwrap();
    // A mask is none of the pictures, and is not read.
    save_png(at("a.mask.png"), &picture(9)).unwrap();

    let (all, notes, passed_over) = read(folder.path(), 10);
    let files: Vec<&str> = all.iter().map(|r| r.file.as_str()).collect();
    assert_eq!(files, ["a.png", "b.png", "c.png"]);
    let captions: Vec<_> = all.iter().map(|r| r.caption.as_deref()).collect();
    assert_eq!(
        captions,
        [Some("a dog in the snow"), None, Some("two dogs")]
    );
    assert!(all.iter().all(|r| r.mask.is_none()));
    assert_eq!(all[1].picture, picture(2));
    assert!(notes.iter().any(|n| n.contains("a.txt")), "{notes:?}");
    for name in ["notes.pdf", "more/", "a.mask.png"] {
        let told = passed_over.iter().any(|told| told.starts_with(name));
        assert!(told, "{name}: {passed_over:?}");
    }
    let (two, _, unused) = read(folder.path(), 2);
    assert_eq!(two.len(), 2);
    // The caption of a picture that is not used belongs to it all the same.
    assert!(
        !unused.iter().any(|told| told.contains("c.caption")),
        "{unused:?}"
    );
    assert_eq!(ClassFolder::look(folder.path()).unwrap().pictures.len(), 3);
}

#[test]
fn pictures_are_read_as_photos_are() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let clear = RgbaImage::from_pixel(4, 4, image::Rgba([5, 6, 7, 0]));
    clear.save(at("a.png")).unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pictures");
    fs::copy(golden.join("turned.tif"), at("b.tif")).unwrap();
    let (all, ..) = read(folder.path(), 9);
    assert!(all[0].seen.transparent);
    assert_eq!(*all[0].picture.get_pixel(0, 0), Rgb([5, 6, 7]));
    assert!(all[1].seen.turned && !all[0].seen.turned);
}

#[test]
fn what_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let refused = |most: usize| {
        let listed = ClassFolder::look(folder.path());
        let read = listed.and_then(|l| l.read(most, Limit::default(), &mut |_| Ok(())));
        read.map_or_else(|e| format!("{e:#}"), |_| "it was read".to_owned())
    };
    let missing = ClassFolder::look(&at("none")).unwrap_err().to_string();
    assert!(missing.contains("does not exist") && missing.contains("pictures of the class"));
    fs::create_dir(at("dog")).unwrap();
    let empty = refused(9);
    assert!(
        empty.contains("holds no picture") && empty.contains("it holds dog"),
        "{empty}"
    );
    save_png(at("a.png"), &picture(1)).unwrap();
    assert_eq!(refused(9), "it was read");
    fs::write(at("b.jpg"), "no picture").unwrap();
    assert!(refused(9).contains("b.jpg"), "{}", refused(9));
    // Those beyond the first are not read.
    assert_eq!(refused(1), "it was read");
    fs::remove_file(at("b.jpg")).unwrap();
    fs::write(at("a.txt"), b"\xff\xfe\xfa").unwrap();
    assert!(refused(1).contains("a.txt"), "{}", refused(1));
    fs::remove_file(at("a.txt")).unwrap();
    fs::write(at("a.txt"), "a dog").unwrap();
    fs::write(at("a.caption"), "a cat").unwrap();
    assert!(refused(1).contains("two captions"), "{}", refused(1));
}
