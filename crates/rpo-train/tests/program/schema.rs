//! The committed files match the program.

use std::path::Path;

#[test]
fn every_committed_experiment_is_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments");
    let mut seen = 0;
    let entries = ["", "tuning"].map(|within| std::fs::read_dir(folder.join(within)));
    let entries = entries
        .into_iter()
        .flat_map(|dir| dir.expect("experiments"));
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|e| e == "toml") {
            let (experiment, layers) =
                rpo_experiment::read(&path, &[], &[]).unwrap_or_else(|e| panic!("{e:#}"));
            experiment
                .training_arms(&layers)
                .unwrap_or_else(|e| panic!("{e:#}"));
            assert!(
                !experiment.reproduces.is_empty(),
                "{} names no table or figure",
                path.display()
            );
            seen += 1;
        }
    }
    assert!(seen >= 5, "only {seen} experiments in {}", folder.display());
}

#[test]
fn the_committed_schema_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments/schema.json");
    let committed: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(path).expect("schema.json")).expect("JSON");
    assert_eq!(
        committed,
        rpo_experiment::schema(),
        "run: rpo-train schema > experiments/schema.json"
    );
}
