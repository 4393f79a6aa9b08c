//! Subjects: several folders in one file, and some of a source by name.

use rpo_data::picture::png_bytes;
use rpo_experiment::plan::{Plan, PlannedSubject, subject_folders};
use rpo_experiment::read;
use std::path::Path;

fn with_photos(root: &Path, folders: &[&str]) {
    let photo = png_bytes(&image::RgbImage::new(8, 8));
    for folder in folders {
        std::fs::create_dir_all(root.join(folder)).unwrap();
        std::fs::write(root.join(folder).join("00.png"), &photo).unwrap();
    }
}

fn plan(root: &Path, text: &str) -> anyhow::Result<Plan> {
    let file = root.join("x.toml");
    std::fs::write(&file, text).unwrap();
    let (experiment, layers) = read(&file, &[], &[])?;
    let plan = Plan::of(experiment.clone(), &layers)?;
    // What is resolved resolves to itself, and the plan comes back from its file.
    std::fs::write(&file, toml::to_string(&experiment)?).unwrap();
    assert_eq!(read(&file, &[], &[])?.0, experiment);
    let text = serde_json::to_string(&plan)?;
    assert_eq!(serde_json::from_str::<Plan>(&text)?, plan);
    Ok(plan)
}

fn said(root: &Path, text: &str) -> String {
    format!("{:#}", plan(root, text).expect_err(text))
}

const FOLDER: &str = "[subjects]\nsource = \"folder\"\n";

#[test]
fn several_folders_have_their_own_words() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    with_photos(
        root,
        &["photos/rex", "photos/mug", "photos/10_sks dog", "b/rex"],
    );
    let text = format!(
        "{FOLDER}class = \"mug\"\n[prompts]\ntest = \"mine.jsonl\"\n
[[subject]]\npath = \"photos/rex\"\nclass = \"dog\"\ntoken = \"[w]\"\n
[[subject]]\npath = \"photos/mug\"\nlive = true\n
[[subject]]\npath = \"photos/10_sks dog\"\nname = \"fido\"\nclass = \"dog\"\n
[[subject]]\npath = \"b/rex\"\nname = \"statue\"\nclass = \"dog\"\nlive = false\n
[[subject]]\npath = \"not/here\"\nclass = \"cat\"\n"
    );
    let rows = "{\"prompt\": \"a {} asleep\", \"live\": true}\n{\"prompt\": \"a {} in a box\"}\n";
    std::fs::write(root.join("mine.jsonl"), rows).unwrap();
    let plan = plan(root, &text).unwrap();
    let of = |s: &PlannedSubject| {
        let tests = s.prompts.test.len();
        (
            s.name.clone(),
            s.class.clone(),
            s.token.clone(),
            s.live,
            s.photos,
            tests,
        )
    };
    let all: Vec<_> = plan.subjects.iter().map(of).collect();
    let want = [
        ("rex", "dog", "[w]", true, 1, 2),
        ("mug", "mug", "[v]", true, 1, 2),
        ("fido", "dog", "[v]", true, 1, 2),
        ("statue", "dog", "[v]", false, 1, 1),
        ("here", "cat", "[v]", true, 0, 2),
    ];
    let own = |(a, b, c, d, e, f): (&str, &str, &str, bool, usize, usize)| {
        (a.to_owned(), b.to_owned(), c.to_owned(), d, e, f)
    };
    assert_eq!(all, want.map(own));
    assert_eq!(plan.cells.len(), 5);
    assert_eq!(plan.cells[3].id, "ours/statue/seed-0");
    // Paths are no part of what is meant, names are.
    let meaning = plan.experiment.meaning();
    let mut other = plan.experiment.clone();
    other.own_subjects[0].path = "elsewhere".into();
    assert_eq!(other.meaning(), meaning);
    other.own_subjects[0].class = "cat".into();
    assert_ne!(other.meaning(), meaning);
}

#[test]
fn folders_that_do_not_fit_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    with_photos(root, &["a/rex", "b/rex"]);
    let one = "[[subject]]\npath = \"a/rex\"\nclass = \"dog\"\n";
    for (text, words) in [
        (
            one.to_owned(),
            ["x.toml:1: `subject`", "source = \"folder\""],
        ),
        (
            format!("{FOLDER}path = \"a/rex\"\n{one}"),
            ["x.toml:3: `subjects.path`", "one more [[subject]]"],
        ),
        (
            format!("{FOLDER}{one}[[subject]]\nclass = \"dog\"\n"),
            ["`subject.1`", "path"],
        ),
        (
            format!("{FOLDER}{one}[[subject]]\npath = \"b/rex\"\nclass = \"dog\"\n"),
            ["share one folder", "`name`"],
        ),
        (
            format!("{FOLDER}[[subject]]\npath = \"a/rex\"\n"),
            ["subject.0.path", "class"],
        ),
        (
            format!("{FOLDER}{one}tokn = \"x\"\n"),
            ["x.toml:6: ", "did you mean `token`?"],
        ),
        (
            format!("{FOLDER}{one}token = \"{{}}\"\n"),
            ["`subject.0.token`", "braces"],
        ),
        (
            format!("{FOLDER}{one}name = \"../x\"\n"),
            ["`subject.0.name`", "plain"],
        ),
        (
            format!("{FOLDER}names = [\"rex\"]\n{one}"),
            ["`subjects.names`", "[[subject]]"],
        ),
        (
            format!("{FOLDER}[[subject]]\npath = \"$HOME/rex\"\nclass = \"dog\"\n"),
            ["`subject.0.path`", "variables"],
        ),
    ] {
        let said = said(root, &text);
        for word in words {
            assert!(said.contains(word), "{text}: no `{word}` in: {said}");
        }
    }
}

#[test]
fn subjects_are_chosen_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let names = |text: &str| -> Vec<String> {
        let plan = plan(root, text).unwrap();
        plan.subjects.into_iter().map(|s| s.name).collect()
    };
    let stickers = "[subjects]\ncount = 1\nnames = [\"lion\", \"car\", \"dog\"]\n";
    assert_eq!(names(stickers), ["lion", "car", "dog"]);
    let meant = |text: &str| plan(root, text).unwrap().experiment.meaning();
    assert_eq!(
        meant(stickers),
        meant(&stickers.replace("count = 1", "count = 7"))
    );
    let source = "[subjects]\nsource = \"dreambench\"\npath = \"set/dataset\"\n";
    // Without the photos, by the benchmark's list.
    assert_eq!(
        names(&format!("{source}names = [\"dog6\", \"can\"]\n")),
        ["dog6", "can"]
    );
    let said_of = |keys: &str| said(root, &format!("{source}{keys}"));
    let text = said_of("names = [\"dog6\", \"cann\"]\n");
    assert!(
        text.contains("x.toml:4: `subjects.names.1`") && text.contains("did you mean `can`?"),
        "{text}"
    );
    with_photos(
        root,
        &["set/dataset/rex", "set/dataset/mug", "set/dataset/cup"],
    );
    let classes = "subject_name,class\nrex,dog\nmug,mug\ncup,cup\n";
    std::fs::write(root.join("set/dataset/prompts_and_classes.txt"), classes).unwrap();
    assert_eq!(
        names(&format!("{source}names = [\"rex\", \"cup\"]\n")),
        ["rex", "cup"]
    );
    assert_eq!(names(&format!("{source}count = 2\n")), ["cup", "mug"]);
    assert_eq!(names(&format!("{source}count = 0\n")).len(), 3);
    assert!(said_of("names = [\"zzz\"]\n").contains("there are cup, mug, rex"));
    assert!(said_of("names = [\"rex\", \"rex\"]\n").contains("given twice"));
    for (name, word) in [
        ("lino", "did you mean `lion`?"),
        ("crown", "has no `crown`"),
    ] {
        let text = said(root, &format!("[subjects]\nnames = [\"{name}\"]\n"));
        assert!(text.contains(word), "{text}");
    }
    // As the photos are read.
    let file = root.join("x.toml");
    std::fs::write(&file, format!("{source}names = [\"rex\", \"cup\"]\n")).unwrap();
    let (experiment, layers) = read(&file, &[], &[]).unwrap();
    let folders = subject_folders(&experiment, &layers).unwrap();
    let paths: Vec<_> = folders.iter().map(|f| f.path.clone().unwrap()).collect();
    assert_eq!(
        paths,
        ["rex", "cup"].map(|n| root.join("set/dataset").join(n))
    );
}

#[test]
fn stickerbench_has_more_subjects_than_nouns() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let all = plan(root, "[subjects]\nseed = 1\ncount = 76\n")
        .unwrap()
        .subjects;
    let (first, later) = (&all[0], &all[75]);
    assert_eq!(later.name, format!("{}-2", first.name));
    assert_eq!((&later.class, later.live), (&first.class, first.live));
    let named = plan(root, "[subjects]\nnames = [\"lion-2\", \"lion\"]\n").unwrap();
    let words: Vec<_> = named
        .subjects
        .iter()
        .map(|s| (s.name.as_str(), s.class.as_str()))
        .collect();
    assert_eq!(words, [("lion-2", "lion"), ("lion", "lion")]);
    let unknown = said(root, "[subjects]\nnames = [\"lion-1\"]\n");
    assert!(unknown.contains("did you mean `lion`?"), "{unknown}");
    let many = said(root, "[subjects]\ncount = 10001\n");
    assert!(
        many.contains("subjects.count") && many.contains("at most 10000"),
        "{many}"
    );
}
