//! The splits do not change: their subjects, and every pixel of their references.

use rpo_data::stickerbench::splits::{DEV, Split, TEST, unseen_nouns};
use rpo_data::stickerbench::{named, noun_of};
use std::collections::BTreeSet;

fn card() -> String {
    let card = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/micro/README.md");
    std::fs::read_to_string(card).expect("the embedded model has a card")
}

fn hash(split: Split) -> String {
    let mut hasher = blake3::Hasher::new();
    for subject in named(split.seed, &split.names(), 64) {
        hasher.update(subject.name.as_bytes());
        for reference in subject.references {
            hasher.update(reference.picture.as_raw());
        }
    }
    hasher.finalize().to_hex().to_string()
}

#[test]
fn their_pictures_are_those_of_the_card() {
    let card = card();
    for (split, name) in [(DEV, "DEV"), (TEST, "TEST")] {
        let line = format!("{}  {name}", hash(split));
        assert!(
            card.lines().any(|l| l == line),
            "the card should have\n{line}"
        );
    }
}

#[test]
fn test_has_every_noun_and_unseen_nouns_are_apart() {
    let nouns = |names: &[String]| -> BTreeSet<&str> {
        let noun = |name| noun_of(name).expect("a subject's name").0;
        names.iter().map(|name| noun(name)).collect()
    };
    let (dev, test) = (DEV.names(), TEST.names());
    assert_eq!((nouns(&dev).len(), nouns(&test).len()), (12, 75));
    assert_eq!(test[75], format!("{}-2", test[0]));
    let unseen = unseen_nouns();
    assert!(DEV.unseen().is_empty());
    assert_eq!(
        nouns(&TEST.unseen()),
        unseen.iter().map(String::as_str).collect()
    );
    let listed = format!("unseen nouns: {}.", unseen.join(", "));
    let card = card().replace('\n', " ");
    assert!(card.contains(&listed), "the card should have\n{listed}");
}

#[test]
fn names_of_no_subject_are_known() {
    for name in [
        "crown",
        "lion-1",
        "lion-0",
        "lion-02",
        "lion-+2",
        "lion-",
        "-2",
        "nothing",
        "Lion",
        "lion-99999999999",
    ] {
        assert_eq!(noun_of(name), None, "{name}");
    }
    assert_eq!(noun_of("lion"), Some(("lion", 1)));
    assert_eq!(noun_of("lion-12"), Some(("lion", 12)));
}
