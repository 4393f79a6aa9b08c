//! What lies in a folder of photos is read, or named as passed over, or refused by name.

use std::fs;
use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};
use rpo_data::picture::{Limit, png_bytes};
use rpo_data::stickerbench::sprites::NOUNS;
use rpo_data::subject::{Subject, is_live, list, load_folder, read_table};

/// A folder with photos of these names and other files.
fn folder(photos: &[&str], others: &[(&str, &[u8])]) -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("rex");
    let picture = png_bytes(&RgbImage::from_pixel(5, 4, Rgb([9, 8, 7])));
    let files = photos.iter().map(|name| (*name, picture.as_slice()));
    for (name, bytes) in files.chain(others.iter().copied()) {
        let file = path.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
    }
    (root, path)
}

fn read(path: &Path) -> Subject {
    load_folder(path, Some("dog"), "[v]", Limit::default()).unwrap()
}

fn error(path: &Path) -> String {
    format!(
        "{:#}",
        load_folder(path, Some("dog"), "[v]", Limit::default()).unwrap_err()
    )
}

fn captions(subject: &Subject) -> Vec<(&str, Option<&str>)> {
    let all = subject.references.iter();
    all.map(|r| (r.file.as_str(), r.caption.as_deref()))
        .collect()
}

#[test]
fn captions_have_several_forms() {
    let table = b"{\"file_name\": \"g.png\", \"text\": \"row\"}\n{\"file_name\": \"gone.png\", \"caption\": \"x\"}\n";
    let (_keep, path) = folder(
        &[
            "a.jpg", "b.jfif", "c.jpg", "d.jpg", "e.jpg", "f.png", "g.png",
        ],
        &[
            ("a.caption", b"one"),
            ("b.TXT", b"two"),
            ("c.jpg.txt", b"three"),
            (
                "d.txt",
                b"\xef\xbb\xbffour,  sks\n{red|blue} __animal__ (dog:1.2)\n",
            ),
            ("e.txt", b" \n"),
            ("metadata.jsonl", table),
            ("notes.txt", b"mine"),
            ("notes.docx", b"mine"),
        ],
    );
    let subject = read(&path);
    let expected = [
        ("a.jpg", Some("one")),
        ("b.jfif", Some("two")),
        ("c.jpg", Some("three")),
        ("d.jpg", Some("four, sks {red|blue} __animal__ (dog:1.2)")),
        ("e.jpg", None),
        ("f.png", None),
        ("g.png", Some("row")),
    ];
    assert_eq!(captions(&subject), expected);
    let notes = subject.notes.join("\n");
    for words in [
        "d.txt: its 2 lines are read as one",
        "d.txt: a choice",
        "d.txt: a wildcard",
        "d.txt: a weight",
        "empty captions, used as none: e.txt",
        "metadata.jsonl lists what is not here: gone.png",
    ] {
        assert!(notes.contains(words), "no `{words}` in {notes}");
    }
    assert_eq!(subject.passed_over, ["notes.docx", "notes.txt"]);
}

#[test]
fn tables_of_captioners_are_read() {
    let csv: &[u8] = b"file_name,text\na.jpg,\"one, two\"\n";
    let list: &[u8] = br#"[{"image": "./a.jpg", "caption": "one, two"}]"#;
    let map: &[u8] = br#"{"C:\\photos\\a.jpg": {"caption": "one, two", "tags": "x"}}"#;
    let stem: &[u8] = br#"{"/somewhere/a": "one, two"}"#;
    for (name, bytes) in [
        ("metadata.csv", csv),
        ("captions.json", list),
        ("meta_cap.json", map),
        ("captions.JSON", stem),
    ] {
        let (_keep, path) = folder(&["a.jpg"], &[(name, bytes)]);
        assert_eq!(
            captions(&read(&path)),
            [("a.jpg", Some("one, two"))],
            "{name}"
        );
    }
    for (name, bytes, words) in [
        (
            "a.jsonl",
            "{\"file_name\": \"a.jpg\"}",
            "none of `prompt`, `text`, `caption`",
        ),
        ("a.jsonl", "{\"text\": \"a\"}", "none of `picture`"),
        (
            "a.jsonl",
            "{\"file\": \"a\", \"text\": \"a\", \"caption\": \"b\"}",
            "`text` and `caption` differ",
        ),
        ("a.jsonl", "{\"file\": \"a\", \"text\": 3}", "`text` is 3"),
        (
            "a.jsonl",
            "{\"file\": \"a\", \"text\": \"x\"}\n{\"file\"",
            "line 2",
        ),
        ("a.csv", "file,text\na,b\na,c\n", "a is listed twice"),
        ("a.json", "[3]", "row 0 is no object"),
        ("a.json", "3", "neither a list"),
    ] {
        let (_keep, path) = folder(&[], &[(name, bytes.as_bytes())]);
        let text = format!("{:#}", read_table(&path.join(name)).unwrap_err());
        assert!(
            text.contains(words) && text.contains(name),
            "no `{words}` in {text}"
        );
    }
}

#[test]
fn captions_that_contradict_each_other_or_are_no_utf8_are_refused() {
    let (_keep, path) = folder(&["a.jpg"], &[("a.txt", b"one"), ("a.caption", b" one\n")]);
    assert_eq!(captions(&read(&path)), [("a.jpg", Some("one"))]);
    fs::write(path.join("a.caption"), "two").unwrap();
    let text = error(&path);
    assert!(
        text.contains("a.caption says \"two\"") && text.contains("a.txt says \"one\""),
        "{text}"
    );
    for (bytes, words) in [
        (
            &b"the dog\x92s bowl"[..],
            "byte 0x92 at 7; probably Windows-1252",
        ),
        (b"\xff\xfea\0 \0d\0", "UTF-16"),
        (b"a\0 \0d\0", "UTF-16"),
    ] {
        let (_keep, path) = folder(&["a.jpg"], &[("a.txt", bytes)]);
        let text = error(&path);
        assert!(
            text.contains("a.txt") && text.contains(words) && text.contains("iconv"),
            "{text}"
        );
    }
}

#[test]
fn systems_files_are_left_out_and_others_are_told() {
    let video = b"\0\0\0\x14ftypmp42\0\0\0\0mp42";
    let heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic";
    let (_keep, path) = folder(
        &[
            "a.jpg",
            "a2.jpg",
            "more/b.jpg",
            "@eaDir/a.jpg",
            ".thumbnails/a.jpg",
            "__MACOSX/a.jpg",
        ],
        &[
            ("._a.jpg", b"\0\x05\x16\x07"),
            (".DS_Store", b"x"),
            ("Thumbs.db", b"x"),
            ("desktop.ini", b"x"),
            ("clip.mp4", video),
            ("A.HEIC", heic),
            ("P6.txt", b"P6 8 dogs"),
        ],
    );
    let subject = read(&path);
    assert_eq!(captions(&subject), [("a.jpg", None), ("a2.jpg", None)]);
    let mut told = subject.passed_over;
    told.sort();
    let expected = [
        "A.HEIC (a HEIC picture; a.jpg is read)",
        "P6.txt",
        "clip.mp4 (a video)",
        "more/ (1 photos)",
    ];
    assert_eq!(told, expected);
    fs::remove_file(path.join("a.jpg")).unwrap();
    let text = error(&path);
    assert!(
        text.contains("A.HEIC is a HEIC picture") && text.contains("or remove it"),
        "{text}"
    );
}

#[test]
fn a_folder_without_photos_says_what_it_holds() {
    let (_keep, path) = folder(
        &["set1/a.jpg", "set1/b.jpg"],
        &[("notes.docx", b"x"), ("clip.mp4", b"\0\0\0\x10ftypisom")],
    );
    let text = error(&path);
    for words in [
        "holds no photo",
        "notes.docx, clip.mp4 (a video)",
        "set1/ (2 photos): give the folder",
    ] {
        assert!(text.contains(words), "no `{words}` in {text}");
    }
    let (_keep, path) = folder(
        &["10_sks dog/a.jpg"],
        &[("10_sks dog/x.npz", b"x"), ("log/x", b"x")],
    );
    let subject = load_folder(&path, None, "[v]", Limit::default()).unwrap();
    assert_eq!(
        (subject.token.as_str(), subject.class.as_str()),
        ("sks", "dog")
    );
    assert!(
        subject.notes[0].contains("repeats are not used"),
        "{:?}",
        subject.notes
    );
    assert_eq!(subject.passed_over, ["log/", "x.npz"]);
}

#[cfg(unix)]
#[test]
fn links_and_odd_names() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    let (_keep, path) = folder(&["a.jpg"], &[]);
    fs::copy(
        path.join("a.jpg"),
        path.join(OsStr::from_bytes(b"b\xff.jpg")),
    )
    .unwrap();
    fs::copy(path.join("a.jpg"), path.join("c\x1b[2J.jpg")).unwrap();
    symlink(path.join("a.jpg"), path.join("d.jpg")).unwrap();
    symlink("nowhere", path.join("notes")).unwrap();
    symlink(&path, path.join("itself")).unwrap();
    let subject = read(&path);
    let files: Vec<&str> = subject.references.iter().map(|r| r.file.as_str()).collect();
    assert_eq!(
        files,
        ["a.jpg", "b\u{fffd}.jpg", "c\\u{1b}[2J.jpg", "d.jpg"]
    );
    let told = subject.passed_over.join(", ");
    assert!(
        told.contains("notes (a link that leads nowhere") && told.contains("itself/"),
        "{told}"
    );
    symlink("x.jpg", path.join("x.jpg")).unwrap();
    let text = format!("{:#}", list(&path).unwrap_err());
    assert!(
        text.contains("x.jpg") && text.contains("leads nowhere"),
        "{text}"
    );
}

#[test]
fn classes_of_animals_and_people() {
    for class in [
        "dog",
        "Cat",
        " girl ",
        "golden retriever",
        "toy poodle",
        "old man with a hat",
        "women",
        "puppies",
        "red panda",
        "shiba inu",
        "guinea pig",
        "person",
        "baby",
        "snow leopard",
    ] {
        assert!(is_live(class), "{class}");
    }
    for class in [
        "",
        "backpack",
        "stuffed animal",
        "toy dog",
        "plush corgi",
        "dog statue",
        "cat toy",
        "hot dog stand",
        "doghouse",
        "teddy bear",
        "cartoon",
        "zorgle",
        "rubber duck",
        "glass",
    ] {
        assert!(!is_live(class), "{class}");
    }
    // Part of what identifies a run.
    let live: Vec<&str> = NOUNS.into_iter().filter(|n| is_live(n)).collect();
    assert_eq!(
        live.join(" "),
        "bear bee butterfly camel cat chicken cow crab dog dolphin duck elephant fish fox frog horse koala ladybug lion monkey mouse octopus owl panda penguin pig rabbit tiger turtle unicorn wolf"
    );
}
