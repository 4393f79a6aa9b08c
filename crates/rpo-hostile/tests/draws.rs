//! Mutations are reproducible, differ from what they began with, and reach what they are for.

use rpo_data::random::stream;
use rpo_hostile::Case;
use rpo_hostile::mutate::{Rng, mutate};
use std::collections::BTreeSet;

fn draws(case: &Case, n: usize) -> Vec<Case> {
    let draw = |i: usize| {
        let mut rng: Rng = stream(7, "test", &[&i.to_string()]);
        mutate(case, std::slice::from_ref(case), &mut rng)
    };
    (0..n).map(draw).collect()
}

#[test]
fn a_number_names_an_input() {
    let case = Case::of("a.json", r#"{"a": 1, "b": [1, 2], "c": "x"}"#);
    let (once, again) = (draws(&case, 200), draws(&case, 200));
    assert_eq!(once, again);
    let different: BTreeSet<&Vec<u8>> = once.iter().filter_map(|c| c.files.get("a.json")).collect();
    assert!(different.len() > 150, "{} different ones", different.len());
}

/// Most changes of a tree give a text of its format, so that readers get past the parser.
#[test]
fn changed_trees_can_be_read() {
    let json = Case::of(
        "a.json",
        r#"{"a": 1, "b": [1, 2, 3], "c": {"d": "x", "e": null}}"#,
    );
    let toml = Case::of("a.toml", "a = 1\nb = [1, 2]\n[c]\nd = \"x\"\ne = 0.5\n");
    let share = |case: &Case, name: &str, reads: &dyn Fn(&str) -> bool| {
        let read = |c: &Case| {
            c.files
                .get(name)
                .and_then(|b| std::str::from_utf8(b).ok())
                .is_some_and(reads)
        };
        draws(case, 400).iter().filter(|c| read(c)).count()
    };
    let json = share(&json, "a.json", &|text| {
        serde_json::from_str::<serde_json::Value>(text).is_ok()
    });
    let toml = share(&toml, "a.toml", &|text| {
        toml::from_str::<toml::Table>(text).is_ok()
    });
    assert!((100..400).contains(&json), "{json} of 400 are JSON");
    assert!((100..400).contains(&toml), "{toml} of 400 are TOML");
}
