//! An arrow between crates may only point down; plans and reports need no tensor.

use super::metadata::metadata;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The crates that each crate may depend on, as in ARCHITECTURE.md.
const FLOORS: [(&str, &[&str]); 16] = [
    ("rpo-files", &[]),
    ("rpo-micro", &[]),
    ("rpo-stats", &[]),
    ("rpo-data", &["rpo-files"]),
    ("rpo-nn", &["rpo-files"]),
    ("rpo-reward", &["rpo-stats"]),
    ("rpo-pref", &["rpo-reward"]),
    ("rpo-encoders", &["rpo-data", "rpo-nn"]),
    ("rpo-diffusion", &["rpo-encoders", "rpo-files", "rpo-nn"]),
    (
        "rpo-eval",
        &[
            "rpo-data",
            "rpo-encoders",
            "rpo-nn",
            "rpo-reward",
            "rpo-stats",
        ],
    ),
    (
        "rpo-experiment",
        &[
            "rpo-data",
            "rpo-files",
            "rpo-pref",
            "rpo-reward",
            "rpo-stats",
        ],
    ),
    (
        "rpo-report",
        &[
            "rpo-data",
            "rpo-experiment",
            "rpo-files",
            "rpo-reward",
            "rpo-stats",
        ],
    ),
    (
        "rpo-pretrain",
        &[
            "rpo-data",
            "rpo-diffusion",
            "rpo-encoders",
            "rpo-eval",
            "rpo-files",
            "rpo-nn",
            "rpo-reward",
        ],
    ),
    (
        "rpo-train",
        &[
            "rpo-data",
            "rpo-diffusion",
            "rpo-encoders",
            "rpo-eval",
            "rpo-experiment",
            "rpo-files",
            "rpo-micro",
            "rpo-nn",
            "rpo-pref",
            "rpo-report",
            "rpo-reward",
            "rpo-stats",
        ],
    ),
    (
        "rpo-hostile",
        &[
            "rpo-data",
            "rpo-diffusion",
            "rpo-encoders",
            "rpo-experiment",
            "rpo-files",
            "rpo-micro",
            "rpo-nn",
            "rpo-reward",
            "rpo-stats",
            "rpo-train",
        ],
    ),
    (
        "rpo-bench",
        &[
            "rpo-data",
            "rpo-diffusion",
            "rpo-encoders",
            "rpo-eval",
            "rpo-nn",
            "rpo-reward",
        ],
    ),
];

/// The normal dependencies of each package, by name.
fn needs(metadata: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let packages = metadata["packages"].as_array().expect("packages");
    let of = |package: &Value| {
        let dependencies = package["dependencies"].as_array().expect("dependencies");
        let normal = dependencies.iter().filter(|d| d["kind"].is_null());
        normal
            .map(|d| d["name"].as_str().expect("a name").to_owned())
            .collect()
    };
    packages
        .iter()
        .map(|p| (p["name"].as_str().expect("a name").to_owned(), of(p)))
        .collect()
}

#[test]
fn arrows_point_down() {
    let needs = needs(&metadata());
    let ours: BTreeSet<&str> = FLOORS.iter().map(|(name, _)| *name).collect();
    let there: BTreeSet<&str> = needs
        .keys()
        .map(String::as_str)
        .filter(|name| name.starts_with("rpo-"))
        .collect();
    assert_eq!(there, ours);
    for (name, allowed) in FLOORS {
        for need in needs[name]
            .iter()
            .filter(|need| ours.contains(need.as_str()))
        {
            assert!(allowed.contains(&need.as_str()), "{name} stands on {need}");
        }
    }
}

#[test]
fn plans_and_reports_need_no_tensor() {
    let needs = needs(&metadata());
    for name in ["rpo-report", "rpo-experiment"] {
        let (mut all, mut open) = (BTreeSet::new(), vec![name.to_owned()]);
        while let Some(next) = open.pop() {
            if all.insert(next.clone()) {
                open.extend(needs.get(&next).into_iter().flatten().cloned());
            }
        }
        assert!(all.contains("serde"), "the tree was not read");
        let tensors = all
            .iter()
            .find(|n| n.starts_with("candle") || *n == "safetensors");
        assert_eq!(tensors, None, "{name}");
    }
}

/// candle-nn and candle-transformers are compared with, not built on.
#[test]
fn peers_are_for_benches_alone() {
    let needs = needs(&metadata());
    for peer in ["candle-nn", "candle-transformers"] {
        let ours = needs.iter().filter(|(name, _)| name.starts_with("rpo-"));
        let users: Vec<&str> = ours
            .filter(|(_, needs)| needs.contains(peer))
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(users, ["rpo-bench"], "{peer}");
    }
}
