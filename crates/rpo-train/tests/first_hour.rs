//! What a new user does: photos, a file, a run, the way to its result, pictures, a report; from an empty folder.
#![cfg(unix)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder with a user's photos, where the program is run.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        let photos = home.path("my photos");
        fs::create_dir(&photos).unwrap();
        for i in 0..3u8 {
            let of = |x: u32, y: u32| image::Rgb([40 * i + x as u8, y as u8, 200]);
            let photo = image::RgbImage::from_fn(80, 70, of);
            photo.save(photos.join(format!("IMG_{i}.png"))).unwrap();
        }
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rpo-train"));
        command.args(args).current_dir(self.0.path());
        command.output().unwrap()
    }

    /// What it printed on standard output.
    fn succeeds(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {told}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What it printed on standard error, as bad input.
    fn refuses(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {told}");
        told
    }
}

/// Sizes that take seconds.
const SMALL: [&str; 6] = [
    "--with",
    "smoke",
    "--set",
    "training.steps=2",
    "--set",
    "validation.every=1",
];

fn png_texts(path: &Path) -> Vec<(String, String)> {
    let file = std::io::BufReader::new(fs::File::open(path).unwrap());
    let reader = png::Decoder::new(file).read_info().unwrap();
    let texts = reader.info().uncompressed_latin1_text.iter();
    let texts = texts.map(|t| (t.keyword.clone(), t.text.clone()));
    texts.collect()
}

fn pngs(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn from_photos_to_pictures() {
    let home = Home::new();
    let told = home.succeeds(&["new", "my photos", "--class", "backpack", "--name", "bag"]);
    assert!(
        told.contains("wrote bag.toml: 3 photos of \"backpack\" in my photos"),
        "{told}"
    );
    assert!(
        told.contains("rpo-train check bag.toml") && told.contains("--model sd15"),
        "{told}"
    );
    let file = fs::read_to_string(home.path("bag.toml")).unwrap();
    for line in [
        "name = \"bag\" ",
        "path = \"my photos\" ",
        "class = \"backpack\" ",
        "# 4 to 6 photos",
    ] {
        assert!(file.contains(line), "no {line:?} in {file}");
    }
    assert!(
        home.refuses(&["new", "my photos", "--class", "backpack", "--name", "bag"])
            .contains("bag.toml")
    );
    let wrong = home.refuses(&[
        "new",
        "my photos",
        "--class",
        "dog",
        "--name",
        "a/b",
        "--out",
        "c.toml",
    ]);
    assert!(
        wrong.contains("c.toml:") && wrong.contains("nothing was written"),
        "{wrong}"
    );
    assert!(!home.path("c.toml").exists());
    assert!(
        home.refuses(&["new", "nothing", "--class", "dog"])
            .contains("nothing")
    );
    for (model, preset) in [
        ("sd15", "preset = \"sd15\""),
        ("sdxl", "preset = \"sdxl-lora\""),
    ] {
        let name = format!("{model}.toml");
        home.succeeds(&[
            "new",
            "my photos",
            "--class",
            "woman",
            "--token",
            "ohwx",
            "--live",
            "true",
            "--model",
            model,
            "--out",
            &name,
        ]);
        let text = fs::read_to_string(home.path(&name)).unwrap();
        assert!(
            text.contains(preset) && text.contains("token = \"ohwx\"\nlive = true\n\n"),
            "{text}"
        );
        assert!(home.succeeds(&["check", &name]).contains("not here yet"));
    }
    assert!(home.succeeds(&["check", "bag.toml"]).contains("time "));

    let mut run = vec![
        "bag.toml",
        "--out",
        "run",
        "--set",
        "rules.lambda=[0.5]",
        "--set",
        "rules.last=true",
    ];
    run.extend(SMALL);
    let told = home.succeeds(&run);
    let line = |word: &str| {
        let mut lines = told.lines().filter(|line| line.starts_with(word));
        lines
            .next_back()
            .unwrap_or_else(|| panic!("no {word} in {told}"))
            .to_owned()
    };
    assert!(line("chosen   ").contains(" by harmonic λ 0.5"), "{told}");
    assert_eq!(
        line("next     "),
        "next     rpo-train generate run -p \"a {} in the snow\" --sheet"
    );
    assert_eq!(line("report   "), "report   run/report.html");
    let pictures = line("pictures ");
    assert_eq!(pictures, "pictures run/best/my-photos-bag-test");
    assert!(
        home.path("run/best/my-photos-bag-test/prompt-00-0.png")
            .is_file()
    );
    // A script gets the same as JSON, and nothing else on standard output.
    run.push("--json");
    let ended: serde_json::Value = serde_json::from_str(&home.succeeds(&run)).unwrap();
    assert_eq!(
        (&ended["cells"], &ended["finished"]),
        (&1.into(), &1.into())
    );
    assert_eq!(ended["best"][0]["rule"], "harmonic λ 0.5");
    run.pop();
    run.push("--quiet");
    let quiet = home.succeeds(&run);
    assert!(
        quiet.starts_with("chosen   ") && quiet.ends_with("report   run/report.html\n"),
        "{quiet}"
    );

    let all = [
        "-p",
        "a {} in the snow",
        "-p",
        "a red {class}",
        "-n",
        "2",
        "--steps",
        "3",
        "--guidance",
        "2.5",
        "--negative",
        "blurry, dark",
        "--solver",
        "euler_karras",
        "--seed",
        "7",
        "--sheet",
        "--step",
        "2",
    ];
    let step = home.succeeds(&[&["generate", "run", "--out", "drawn"], &all[..]].concat());
    let names = pngs(&home.path("drawn"));
    assert_eq!((step.lines().count(), names.len()), (5, 5), "{names:?}");
    assert_eq!(
        names[0],
        "step-000002-seed-7-00-a--v--backpack-in-the-snow-0.png"
    );
    assert_eq!(names[4], "step-000002-seed-7-sheet.png");
    let texts = png_texts(&home.path("drawn").join(&names[1]));
    assert_eq!(texts[0].0, "parameters");
    assert!(texts[0].1.starts_with("a \\[v\\] backpack in the snow\nNegative prompt: blurry, dark\nSteps: 3, Sampler: Euler, Schedule type: Karras, CFG scale: 2.5, Seed: 7, Size: 64x64, "), "{texts:?}");
    let exact: serde_json::Value = serde_json::from_str(&texts[1].1).unwrap();
    assert_eq!(
        (&exact["picture"], &exact["negative"]),
        (&1.into(), &"blurry, dark".into())
    );
    // The same again is the same files; other settings have other files beside them.
    home.succeeds(&[&["generate", "run", "--out", "drawn"], &all[..]].concat());
    assert_eq!(pngs(&home.path("drawn")), names);
    let before = fs::read(home.path("drawn").join(&names[0])).unwrap();
    let other: Vec<&str> = all
        .iter()
        .map(|a| if *a == "2.5" { "4" } else { *a })
        .collect();
    home.succeeds(&[&["generate", "run", "--out", "drawn"], &other[..]].concat());
    assert_eq!(pngs(&home.path("drawn")).len(), 10);
    assert_eq!(
        fs::read(home.path("drawn").join(&names[0])).unwrap(),
        before
    );
    for (args, word) in [
        (vec!["--solver", "eulr"], "--solver"),
        (vec!["--guidance", "0.5"], "--guidance"),
        (vec!["--steps", "0"], "--steps"),
        (vec!["--negative", "x", "--guidance", "1"], "--negative"),
        (vec!["--lora-scale", "0.5,1"], "--lora-scale"),
        (vec!["--rule", "lst"], "did you mean \"last\"?"),
        (vec!["--rule", "last", "--lambda", "0.5"], "--lambda"),
        (vec!["--lambda", "1.5"], "--lambda"),
    ] {
        let said = home.refuses(&[&["generate", "run"][..], &args].concat());
        assert!(said.contains(word), "{said}");
    }

    let drawn = |args: &[&str]| -> String {
        let of = [
            "generate", "run", "-n", "1", "--steps", "2", "--out", "by rule",
        ];
        home.succeeds(&[&of[..], args].concat())
    };
    assert!(drawn(&["--rule", " LAST "]).contains("step-000002-"));
    assert!(drawn(&["--rule", "harmonic λ 0.5"]).contains("step-00000"));
    assert!(drawn(&["--lambda", "0.45"]).contains("step-00000"));

    home.succeeds(&["report", "run", "--baseline", "last"]);
    let csv = fs::read_to_string(home.path("run/table.csv")).unwrap();
    assert!(csv.lines().nth(1).unwrap().contains(",last,1,"), "{csv}");
    let refused = home.refuses(&["report", "run", "--baseline", "lst"]);
    assert!(refused.contains("did you mean \"last\"?"), "{refused}");
    for name in [
        "table.txt",
        "table.csv",
        "subjects.csv",
        "table.tex",
        "eval.json",
    ] {
        assert!(home.path("run").join(name).is_file(), "{name}");
    }
    let table = fs::read_to_string(home.path("run/table.txt")).unwrap();
    assert!(
        table.lines().all(|line| line.chars().count() <= 80),
        "{table}"
    );
    let json: serde_json::Value =
        serde_json::from_str(&home.succeeds(&["report", "run", "--json"])).unwrap();
    assert_eq!(json["rows"][0]["name"], "step 0");
}

#[test]
fn a_lora_is_drawn_with_several_scales() {
    let home = Home::new();
    home.succeeds(&["new", "my photos", "--class", "dog", "--name", "rex"]);
    let lora = [
        "rex.toml",
        "--out",
        "run",
        "--set",
        "lora.rank=2",
        "--set",
        "rules.lambda=[]",
        "--set",
        "rules.last=true",
    ];
    let told = home.succeeds(&[&lora[..], &SMALL].concat());
    assert!(
        told.contains(
            "chosen   step 2 of 2 by last\nweights  run/best/my-photos-rex.safetensors\n"
        ),
        "{told}"
    );
    let linked = fs::read(home.path("run/best/my-photos-rex.safetensors")).unwrap();
    assert!(linked.len() > 1000);
    home.succeeds(&[
        "generate",
        "run",
        "-n",
        "1",
        "--lora-scale",
        "0,0.5,1,1",
        "--sheet",
        "--out",
        "drawn",
    ]);
    let names = pngs(&home.path("drawn"));
    assert_eq!(names.len(), 4, "{names:?}");
    assert!(
        names[0].starts_with("step-000002-scale-0-seed-0-00-"),
        "{names:?}"
    );
    let sheet = image::open(home.path("drawn/step-000002-seed-0-sheet.png")).unwrap();
    assert!(
        sheet.width() > 3 * 64 && sheet.height() < 2 * 64,
        "{}",
        sheet.width()
    );
    // The file for other programs draws the same picture.
    home.succeeds(&[
        "generate",
        "run",
        "-n",
        "1",
        "--lora",
        "run/best/my-photos-rex.safetensors",
        "--out",
        "by file",
    ]);
    let pixels = |path: PathBuf| image::open(path).unwrap().to_rgb8();
    let by_file = pngs(&home.path("by file"));
    let same = pixels(home.path("by file").join(&by_file[0]));
    let own = names.iter().find(|name| name.contains("scale-1-")).unwrap();
    assert_eq!(same, pixels(home.path("drawn").join(own)));
}

#[test]
fn verbs_of_the_readme_are_known_and_complete() {
    let home = Home::new();
    let readme = include_str!("../../../README.md");
    let mut verbs: Vec<&str> = readme
        .split("`rpo-train ")
        .skip(1)
        .filter_map(|rest| rest.split([' ', '`']).next())
        .filter(|word| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase()))
        .collect();
    verbs.sort_unstable();
    verbs.dedup();
    assert!(verbs.len() > 12, "{verbs:?}");
    let bash = home.succeeds(&["completions", "bash"]);
    for verb in verbs {
        // A built-in experiment stands where a verb does.
        if rpo_experiment::built_in::experiment(Path::new(verb)).is_none() {
            home.succeeds(&[verb, "--help"]);
            assert!(bash.contains(&format!(" {verb}")), "{verb}");
        }
    }
    for shell in ["zsh", "fish", "powershell", "elvish"] {
        assert!(
            home.succeeds(&["completions", shell]).contains("generate"),
            "{shell}"
        );
    }
    let version = home.succeeds(&["--version"]);
    assert!(
        version.starts_with(concat!("rpo-train ", env!("CARGO_PKG_VERSION"), " (")),
        "{version}"
    );
}
