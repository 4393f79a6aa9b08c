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
    let photos = photos(folder.path());
    std::fs::write(photos.join("notes.docx"), "mine").unwrap();
    let photos = format!("subjects.path={}", photos.display());
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
    let said = text(&output.stdout);
    for words in [
        "4 photos of 80 x 64",
        "those for living subjects",
        "passed over: notes.docx",
    ] {
        assert!(said.contains(words), "no `{words}` in {said}");
    }
}

/// What is in the files beside what is trained on.
#[test]
fn what_is_odd_about_photos_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    let tiny = RgbImage::from_fn(40, 30, |x, y| image::Rgb([x as u8, y as u8, 0]));
    let long = RgbImage::from_fn(300, 70, |x, y| image::Rgb([x as u8, y as u8, 0]));
    let clear = image::RgbaImage::from_pixel(70, 70, image::Rgba([9, 9, 9, 0]));
    tiny.save(place.join("tiny.png")).unwrap();
    tiny.save(place.join("twin.bmp")).unwrap();
    long.save(place.join("long.png")).unwrap();
    clear.save(place.join("clear.png")).unwrap();
    let experiments = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments");
    let file = experiments.join("my_subject.toml").display().to_string();
    let path = format!("subjects.path={}", place.display());
    let check = |more: &[&str]| {
        let sets = more.iter().flat_map(|set| ["--set", set]);
        let args: Vec<&str> = ["check", file.as_str(), "--set", &path]
            .into_iter()
            .chain(sets)
            .collect();
        program(&args)
    };
    let said = text(&check(&["subjects.class=cat toy"]).stdout);
    for words in [
        "1 transparent, of which the colours below the transparency are used: clear.png",
        "2 smaller than the model's 64 px, enlarged: tiny.png, twin.bmp",
        "1 more than twice as long as wide, cropped to a square: long.png",
        "twin.bmp and tiny.png have the same pixels",
        "those for objects, by the class \"cat toy\"",
    ] {
        assert!(said.contains(words), "no `{words}` in {said}");
    }
    let said = text(&check(&["subjects.live=true"]).stdout);
    assert!(!said.contains("by the class"), "{said}");
    let output = check(&["subjects.max_megapixels=0.01"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("300 x 70") && said.contains("raise subjects.max_megapixels"),
        "{said}"
    );
}

#[test]
fn rounds_are_in_plan_memory_and_disk() {
    let check = |rounds: &str| {
        let sets = [
            "recipe.preset=dreambooth_dpo",
            rounds,
            "recipe.l_pref_weight=1",
        ];
        let sets = sets.iter().flat_map(|set| ["--set", *set]);
        let output = program(&[&["check", "quickstart"], &sets.collect::<Vec<_>>()[..]].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let with = check("recipe.rounds=2");
    for words in [
        "dreambooth_dpo",
        "rounds of 32 own pictures after steps ",
        "their copy of a round's start",
    ] {
        assert!(with.contains(words), "no `{words}` in {with}");
    }
    let without = check("recipe.rounds=0");
    assert!(
        !without.contains("own pictures") && !without.contains("copy of a round"),
        "{without}"
    );
    let forwards = |said: &str| -> f64 {
        let at = said.split("at most ").last().expect("a cost");
        at.split(' ')
            .next()
            .and_then(|n| n.parse().ok())
            .expect("a number")
    };
    assert_ne!(forwards(&with), forwards(&without));
}

/// Trained numbers have 4 bytes of their own and 8 of moments, in every part that is trained.
#[test]
fn memory_counts_what_is_trained() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("parts.toml");
    let arms = [
        ("unet", 24, 49),
        ("unet\", \"text_encoder", 27, 54),
        ("cross_attention", 1, 1),
        ("lora", 6, 11),
        ("token", 0, 0),
    ];
    let mut experiment = "name = \"parts\"\n[subjects]\ncount = 1\n[lora]\nrank = 128\n".to_owned();
    for (i, (parts, ..)) in arms.iter().enumerate() {
        experiment += &format!("[[arm]]\nname = \"{i}\"\ntrain = {{ parts = [\"{parts}\"] }}\n");
    }
    std::fs::write(&file, experiment).unwrap();
    let output = program(&["check", &file.display().to_string()]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines: Vec<&str> = said.lines().filter(|l| l.starts_with("memory ")).collect();
    assert_eq!(lines.len(), arms.len(), "{said}");
    for (line, (parts, weights, moments)) in lines.iter().zip(arms) {
        let words = format!("trained weights {weights} MB, moments {moments} MB,");
        assert!(line.contains(&words), "{parts}: {line}");
    }
}
