//! Dependencies come from crates.io or the tree, under a licence that `deny.toml` allows: the check of `cargo deny`, even
//! where that is not installed.

use super::metadata::metadata;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().expect("the workspace")
}

/// The licences of `deny.toml`: those allowed for all crates, and by crate the additional ones.
fn allowed() -> (Vec<String>, BTreeMap<String, Vec<String>>) {
    let text = std::fs::read_to_string(root().join("deny.toml")).expect("deny.toml");
    let deny: toml::Table = text.parse().expect("TOML");
    let texts = |list: &toml::Value| -> Vec<String> {
        let list = list.as_array().expect("a list").iter();
        list.map(|t| t.as_str().expect("a text").to_owned())
            .collect()
    };
    let exceptions = deny["licenses"]["exceptions"].as_array().expect("a list");
    let exceptions = exceptions.iter().map(|exception| {
        let name = exception["crate"].as_str().expect("a name").to_owned();
        (name, texts(&exception["allow"]))
    });
    (texts(&deny["licenses"]["allow"]), exceptions.collect())
}

/// Whether an SPDX expression can be satisfied by licences that `allows` accepts. `/` is an older `OR`.
fn met(expression: &str, allows: &dyn Fn(&str) -> bool) -> bool {
    let spaced = expression.replace('/', " OR ");
    let spaced = spaced.replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let met = any(&mut words, allows);
    assert_eq!(words.next(), None, "{expression}");
    met
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any(words: &mut Words, allows: &dyn Fn(&str) -> bool) -> bool {
    let mut met = all(words, allows);
    while words.next_if_eq(&"OR").is_some() {
        met |= all(words, allows);
    }
    met
}

fn all(words: &mut Words, allows: &dyn Fn(&str) -> bool) -> bool {
    let mut met = one(words, allows);
    while words.next_if_eq(&"AND").is_some() {
        met &= one(words, allows);
    }
    met
}

fn one(words: &mut Words, allows: &dyn Fn(&str) -> bool) -> bool {
    if words.next_if_eq(&"(").is_some() {
        let met = any(words, allows);
        assert_eq!(words.next(), Some(")"));
        return met;
    }
    let mut name = words.next().expect("a licence").to_owned();
    if words.next_if_eq(&"WITH").is_some() {
        name += " WITH ";
        name += words.next().expect("an exception");
    }
    allows(&name)
}

#[test]
fn every_licence_is_allowed() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    let (allow, exceptions) = allowed();
    let mut refused = Vec::new();
    for package in packages {
        let name = package["name"].as_str().expect("a name");
        let also = exceptions.get(name).map_or(&[][..], Vec::as_slice);
        let allows = |licence: &str| allow.iter().chain(also).any(|a| a == licence);
        let licence = package["license"].as_str().unwrap_or("none");
        if !met(licence, &allows) {
            refused.push(format!("{name}: {licence}"));
        }
    }
    assert_eq!(refused, Vec::<String>::new(), "not allowed by deny.toml");
}

#[test]
fn every_source_is_crates_io_or_the_tree() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    for package in packages {
        let name = package["name"].as_str().expect("a name");
        match package["source"].as_str() {
            Some(source) => assert_eq!(source, CRATES_IO, "{name}"),
            None => {
                let manifest = package["manifest_path"].as_str().expect("a path");
                assert!(Path::new(manifest).starts_with(root()), "{manifest}");
            }
        }
    }
    // Including what only other platforms and features need.
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).expect("Cargo.lock");
    let sources = lock.lines().filter_map(|l| l.strip_prefix("source = "));
    let sources: Vec<&str> = sources.collect();
    assert!(sources.len() > 200, "the lock file was not read");
    for source in sources {
        assert_eq!(source.trim_matches('"'), CRATES_IO);
    }
}

#[test]
fn expressions_are_read() {
    let allows = |licence: &str| ["MIT", "Zlib", "A WITH e"].contains(&licence);
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0/MIT", true),
        ("GPL-3.0 OR MIT AND Zlib", true),
        ("(GPL-3.0 OR MIT) AND BSL-1.0", false),
        ("MIT AND (BSL-1.0 OR Zlib)", true),
        ("A", false),
        ("A WITH e OR GPL-3.0", true),
    ] {
        assert_eq!(met(expression, &allows), expected, "{expression}");
    }
}
