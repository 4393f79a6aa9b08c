//! The copy is whole, whatever existed before.

use super::*;

const SMALL: [File; 3] = [
    File {
        path: "README.md",
        bytes: b"about",
    },
    File {
        path: "reward/config.json",
        bytes: b"{}",
    },
    File {
        path: "unet/config.json",
        bytes: b"{}",
    },
];

fn unpacked(folder: &Path) -> PathBuf {
    unpack(&[folder.to_path_buf()], &SMALL).unwrap()
}

/// Number of entries beside the copy: none should be left.
fn beside(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count() - 1
}

#[test]
fn a_copy_is_made_once_and_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("not/there/yet");
    let copy = unpacked(&cache);
    assert_eq!(copy.parent(), Some(cache.as_path()));
    assert!(is_whole(&copy, &SMALL));
    let written = |name: &str| fs::metadata(copy.join(name)).unwrap().modified().unwrap();
    let before = written("README.md");
    assert_eq!(unpacked(&cache), copy);
    assert_eq!(written("README.md"), before);
    assert_eq!(beside(&cache), 0);
}

#[test]
fn damaged_copies_are_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let copy = unpacked(folder.path());
    let config = copy.join("unet/config.json");
    let damages: [&dyn Fn() -> io::Result<()>; 6] = [
        &|| fs::write(&config, "[]"),
        &|| fs::write(&config, "{"),
        &|| fs::remove_file(&config),
        &|| fs::remove_dir_all(copy.join("reward")),
        // A hash of a folder counts every file in it.
        &|| fs::write(copy.join("reward/notes.txt"), "mine"),
        &|| fs::remove_dir_all(&copy).and_then(|()| fs::write(&copy, "a file")),
    ];
    for (i, damage) in damages.iter().enumerate() {
        damage().unwrap();
        assert!(!is_whole(&copy, &SMALL), "{i}");
        assert_eq!(unpacked(folder.path()), copy);
        assert!(is_whole(&copy, &SMALL), "{i}");
        assert_eq!(beside(folder.path()), 0, "{i}");
    }
}

#[test]
fn the_next_folder_is_taken_where_one_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let (bad, good) = (file.join("below"), folder.path().join("good"));
    let copy = unpack(&[bad.clone(), good.clone()], &SMALL).unwrap();
    assert!(copy.starts_with(&good) && is_whole(&copy, &SMALL));
    let message = unpack(&[bad.clone(), file.clone()], &SMALL)
        .unwrap_err()
        .message;
    for word in [bad.to_str().unwrap(), file.to_str().unwrap(), "RPO_CACHE"] {
        assert!(message.contains(word), "no `{word}` in: {message}");
    }
}

#[test]
fn several_at_once_end_with_one_copy() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let cache = folder.path().join(round.to_string());
        if round % 2 == 1 {
            fs::remove_file(unpacked(&cache).join("unet/config.json")).unwrap();
        }
        let copies: Vec<PathBuf> = std::thread::scope(|scope| {
            let start = || scope.spawn(|| unpacked(&cache));
            let threads: Vec<_> = (0..4).map(|_| start()).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(copies.iter().all(|copy| *copy == copies[0]));
        assert!(is_whole(&copies[0], &SMALL));
        assert_eq!(beside(&cache), 0);
    }
}

#[test]
fn folders_are_those_that_the_environment_names() {
    let of = |variables: &[(&str, &str)]| {
        let get = |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let shown = caches(get, Path::new("/tmp")).into_iter();
        shown.map(|p| p.display().to_string()).collect::<Vec<_>>()
    };
    let (home, user) = (("HOME", "/home/ann"), ("USER", "ann"));
    let (xdg, own) = (("XDG_CACHE_HOME", "/xdg"), ("RPO_CACHE", "~/c"));
    assert_eq!(of(&[home, user]), ["/home/ann/.cache/rpo", "/tmp/rpo-ann"]);
    assert_eq!(of(&[home, xdg]), ["/xdg/rpo", "/tmp/rpo"]);
    assert_eq!(of(&[home, xdg, own])[0], "/home/ann/c");
    assert_eq!(of(&[home, ("RPO_CACHE", " ")])[0], "/home/ann/.cache/rpo");
    assert_eq!(of(&[("USER", "../ann")]), ["/tmp/rpo-ann"]);
}

#[test]
fn names_are_the_model_and_what_is_in_it() {
    let of = |name: &str| within(name, &SMALL).map(|p| p.display().to_string());
    for (name, below) in [
        ("micro", ""),
        ("micro/", ""),
        ("micro/reward", "reward"),
        ("micro/unet/config.json", "unet/config.json"),
    ] {
        assert_eq!(of(name).as_deref(), Some(below), "{name}");
    }
    for name in [
        "",
        "mic",
        "micro2",
        "./micro",
        "/micro",
        "micro/rew",
        "micro/../micro",
        "reward",
        "org/micro",
    ] {
        assert_eq!(of(name), None, "{name}");
    }
}

#[test]
fn other_contents_have_another_name() {
    let [a, b, c] = SMALL;
    let names = [
        name_of(&SMALL),
        name_of(&[a, b]),
        name_of(&[File { bytes: b"[]", ..a }, b, c]),
        name_of(&[File { path: "x", ..a }, b, c]),
    ];
    for (i, name) in names.iter().enumerate() {
        assert!(!names[..i].contains(name));
        assert_eq!(name.len(), "micro-".len() + 16);
    }
}
