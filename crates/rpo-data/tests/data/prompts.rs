//! Templates and prompt sets.

use std::collections::HashSet;
use std::io::Write;
use std::path::Path;

use proptest::prelude::*;
use rpo_data::prompts::dreambench::SUBJECTS;
use rpo_data::prompts::{
    Prompt, PromptSet, built_in, check, dreambench, fill, names, read_prompts,
};
use rpo_data::stickerbench;

#[test]
fn filling() {
    assert_eq!(
        fill("a {} in the snow", Some("[V]"), "dog"),
        "a [V] dog in the snow"
    );
    assert_eq!(fill("a {} in the snow", None, "dog"), "a dog in the snow");
    assert_eq!(
        fill("a {token} red {class} at night", Some("[V]"), "dog"),
        "a [V] red dog at night"
    );
    assert_eq!(
        fill("a {token} red {class} at night", None, "dog"),
        "a red dog at night"
    );
    assert_eq!(fill("{class} {token}", None, "dog"), "dog");
    assert_eq!(
        fill("{token} {class}", None, "stuffed animal"),
        "stuffed animal"
    );
    assert_eq!(
        fill("a {}", Some("[V]"), "{token}"),
        "a [V] {token}",
        "a class is never a template"
    );
}

#[test]
fn bad_templates_are_named() {
    for bad in [
        "a dog",
        "a {token} dog",
        "{} and {}",
        "a {token} {token} {class}",
        "a {} in {place}",
        "a {} }",
    ] {
        let text = check(bad).unwrap_err().to_string();
        assert!(text.contains(bad), "{text}");
    }
    for good in ["a {}", "a {class} in the snow", "a {token} red {class}"] {
        check(good).unwrap();
    }
}

#[test]
fn dreambench_sets() {
    for live in [false, true] {
        let set = dreambench(live);
        assert_eq!(
            (set.train.len(), set.validation.len(), set.test.len()),
            (8, 8, 25)
        );
        let all = || set.train.iter().chain(&set.validation).chain(&set.test);
        for template in all() {
            check(template).unwrap();
        }
        let distinct: HashSet<_> = all().collect();
        assert_eq!(distinct.len(), 41, "no prompt is in two sets");
    }
    assert_eq!(dreambench(true).train[0], "a {} wearing a green outfit");
    assert_eq!(dreambench(false).test[24], "a cube shaped {}");
}

/// Runs are named after the prompts' text and order: those of before the files, bit for bit.
#[test]
fn the_files_hold_what_the_program_held() {
    let hash = |set: &PromptSet| {
        let mut hasher = blake3::Hasher::new();
        for (name, list) in [
            ("train", &set.train),
            ("validation", &set.validation),
            ("test", &set.test),
        ] {
            hasher.update(format!("{name}\n").as_bytes());
            for prompt in list {
                hasher.update(format!("{prompt}\n").as_bytes());
            }
        }
        hasher.finalize().to_hex()[..32].to_owned()
    };
    for (set, before) in [
        (dreambench(false), "0ad7afc08746b38193d3ff35eca173c0"),
        (dreambench(true), "dd8c26cba847df3a274d138abbf36092"),
        (stickerbench::prompts(), "4062ceac4c5d1d49d2f3790756a4f3d8"),
    ] {
        assert_eq!(hash(&set), before, "{set:?}");
    }
}

#[test]
fn every_prompt_of_the_program_has_a_kind() {
    assert_eq!(names().count(), 6);
    for name in names() {
        let list = built_in(name).unwrap();
        assert!(list.iter().all(|p| p.kind.is_some()), "{name}");
    }
    assert_eq!(built_in("dreambench"), None);
    let count = |set: &PromptSet, kind: &str| {
        let kinds = set.kinds.test.iter();
        kinds.filter(|k| k.as_deref() == Some(kind)).count()
    };
    for (live, of) in [(false, [20, 0, 5]), (true, [10, 10, 5])] {
        let set = dreambench(live);
        let counts = ["recontext", "accessory", "property"].map(|kind| count(&set, kind));
        assert_eq!(counts, of, "as in the DreamBooth paper");
        assert_eq!(set.kinds.test.len(), set.test.len());
    }
}

/// Plans of before kinds are read.
#[test]
fn sets_without_kinds_are_read() {
    let old = r#"{"train": ["a {}"], "validation": [], "test": ["b {}"]}"#;
    let set: PromptSet = serde_json::from_str(old).unwrap();
    assert_eq!(
        (set.test, set.kinds.test),
        (vec!["b {}".to_owned()], vec![])
    );
}

#[test]
fn files_of_prompts() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let read = |name: &str, bytes: &[u8]| -> Vec<Prompt> {
        read_prompts(&at(name, bytes)).unwrap_or_else(|e| panic!("{name}: {e:#}"))
    };
    let lines = read("a.txt", b"\xef\xbb\xbf[view]\r\na {} from above\r\n");
    assert_eq!(lines[0].template, "a {} from above");
    assert_eq!(lines[0].kind.as_deref(), Some("view"));
    let rows = read(
        "a.JSONL",
        b"{\"prompt\": \"a {} from above\", \"kind\": \"view\"}",
    );
    assert_eq!(
        Prompt {
            line: 1,
            ..lines[0].clone()
        },
        rows[0]
    );
    let said =
        |name: &str, bytes: &[u8]| format!("{:#}", read_prompts(&at(name, bytes)).unwrap_err());
    for (name, bytes, word) in [
        ("b.txt", &b"a {}\na dog\n"[..], "b.txt:2: "),
        ("b.csv", b"prompt\n", ".csv"),
        ("b.json", b"[]", ".jsonl"),
        ("b.txt", b"\xff\xfea\0", "UTF-16"),
        ("b.txt", b"a {} caf\xe9", "no UTF-8"),
        ("b.txt", b"", "no prompt"),
        ("b.txt", &[b'#'; (4 << 20) + 1], "4194305 bytes"),
    ] {
        let said = said(name, bytes);
        assert!(
            said.contains(word) && said.contains("hint: "),
            "{word}: {said}"
        );
    }
    let gone = read_prompts(&folder.path().join("gone.txt")).unwrap_err();
    assert!(format!("{gone:#}").contains("gone.txt"));
    assert!(read_prompts(folder.path()).is_err());
}

/// With DreamBench beside the workspace: the constants are its lists.
#[test]
fn dreambench_as_published() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/dreambench/dataset/prompts_and_classes.txt");
    let Ok(text) = std::fs::read_to_string(path) else {
        // Not captured in a passing test: CI counts these lines.
        let _ = writeln!(
            std::io::stderr(),
            "skipped: DreamBench's lists are not here"
        );
        return;
    };
    let prompts: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix('\'')?.split_once("'.format"))
        .map(|(prompt, _)| prompt.replace("{0} {1}", "{}"))
        .collect();
    let ours = [dreambench(false).test, dreambench(true).test].concat();
    assert_eq!(prompts, ours);
    let classes: Vec<_> = text
        .lines()
        .filter(|l| !l.contains(['\'', ' ', '[']) || l.ends_with("stuffed animal"))
        .filter_map(|l| l.split_once(','))
        .skip(1)
        .collect();
    assert_eq!(classes, SUBJECTS);
}

proptest! {
    /// Removing the token equals never having had one: no double, leading or trailing spaces.
    #[test]
    fn no_trace_of_the_token(before in "([a-z]+ )?", between in "( [a-z]+)?", after in "( [a-z]+){0,3}") {
        let template = format!("{before}{{token}}{between} {{class}}{after}");
        let expected = format!("{before}{}{}dog{after}", between.trim(), if between.is_empty() { "" } else { " " });
        prop_assert_eq!(fill(&template, None, "dog"), expected);
    }
}
