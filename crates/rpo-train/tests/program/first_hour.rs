//! What a new user does: photos, a file, a run, the way to its result, pictures, a report; from an empty folder.
#![cfg(unix)]

use crate::home::{Home, SMALL, png_texts, pngs};
use std::fs;
use std::path::Path;

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
    assert!(
        file.contains("# the run folder is runs/bag-<hash>"),
        "{file}"
    );
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
    let braces = home.refuses(&["new", "my photos", "--class", "{}", "--out", "c.toml"]);
    assert!(
        braces.contains("subjects.class") || braces.contains("`class`"),
        "{braces}"
    );
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
        (vec!["-n", "5000", "--sheet"], "--sheet"),
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
    // A λ given here chooses what the run's own rule of that λ chose.
    let by_rule = drawn(&["--rule", "harmonic λ 0.5"]);
    assert_eq!(drawn(&["--lambda", "0.5"]), by_rule);

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
fn verbs_of_the_readme_are_known_and_complete() {
    let home = Home::new();
    let readme = include_str!("../../../../README.md");
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
