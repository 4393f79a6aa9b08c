//! What `check` prints about photos and captions, and a run repeats.

use image::RgbImage;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn program(args: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_rpo-train"))
        .args(args)
        .output();
    output.expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Photos with captions as a captioning model writes them: without the token, too long, and correct.
fn photos(folder: &Path) -> PathBuf {
    let long = format!("{} of [v] dog", "a red car near a tree ".repeat(12));
    let captions = [
        ("a", "a brown animal on green grass"),
        ("b", long.as_str()),
        ("c", "a photo of [v] dog"),
        ("d", "she asks for [vase] a dog"),
    ];
    let place = folder.join("photos");
    std::fs::create_dir_all(&place).unwrap();
    for (i, (name, caption)) in (0u32..).zip(captions) {
        let picture = RgbImage::from_fn(80 + i, 64, |x, y| image::Rgb([x as u8, y as u8, 40]));
        picture.save(place.join(format!("{name}.png"))).unwrap();
        std::fs::write(place.join(format!("{name}.txt")), caption).unwrap();
    }
    place
}

#[test]
fn captions_that_bind_nothing_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let photos = format!("subjects.path={}", photos(folder.path()).display());
    let experiments = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments");
    let file = experiments.join("my_subject.toml").display().to_string();
    let subject = ["--set", photos.as_str(), "--set", "subjects.class=dog"];
    let output = program(&[&["check", file.as_str()], &subject[..]].concat());
    let said = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for words in [
        "4 photos of 80 x 64 to 83 x 64, 4 with a caption; prompts say \"[v] dog\"",
        "a.txt does not hold the token `[v]`",
        "d.txt does not hold the token `[v]`",
        "of which the text encoder reads 24; the token `[v]` is beyond them",
        "disk       up to ",
        "time       about ",
    ] {
        assert!(said.contains(words), "no `{words}` in {said}");
    }
    assert!(!said.contains("c.txt"), "{said}");

    // Without the model there is no tokenizer to count tokens.
    let sd15 = experiments.join("my_subject_sd15.toml");
    let sd15 = sd15.display().to_string();
    let sets = ["--set", "model.path=nowhere/at-all"];
    let output = program(&[&["check", sd15.as_str()], &subject[..], &sets[..]].concat());
    let said = text(&output.stdout);
    assert!(said.contains("a.txt does not hold the token"), "{said}");
    assert!(
        said.contains("changed    training.learning_rate = 0.0001"),
        "{said}"
    );
    assert!(!said.contains("tokens"), "{said}");

    let smoke = experiments.join("sizes/smoke.toml").display().to_string();
    let output = format!(
        "output={:?}",
        folder.path().join("runs").display().to_string()
    );
    let more = ["--with", smoke.as_str(), "--set", output.as_str()];
    let output = program(&[&["run", file.as_str()], &subject[..], &more[..]].concat());
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    for words in ["warning: a.txt does not hold", "warning: b.txt: "] {
        assert!(said.contains(words), "no `{words}` in {said}");
    }
}
