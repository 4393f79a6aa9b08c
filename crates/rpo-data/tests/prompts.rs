//! Templates and prompt sets.

use std::collections::HashSet;
use std::io::Write;
use std::path::Path;

use proptest::prelude::*;
use rpo_data::prompts::dreambench::{LIVE_TEST, OBJECT_TEST, SUBJECTS};
use rpo_data::prompts::{check, dreambench, fill};

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
    let ours: Vec<_> = OBJECT_TEST
        .iter()
        .chain(&LIVE_TEST)
        .map(|p| p.to_string())
        .collect();
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
