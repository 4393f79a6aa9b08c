//! The records of a run, and checksums.

use super::made::program;
use crate::case::Case;
use crate::target::Target;
use anyhow::{Context, Result};
use rpo_experiment::plan::{Plan, Purpose};
use rpo_experiment::run::{
    Folder, PictureResult, RECORDS, Record, Run, RunInfo, StepResult, Times,
};
use rpo_files::{SUMS, check_sum, check_sums};
use rpo_reward::{Candidate, Score, Variant};
use rpo_stats::Column;
use std::collections::BTreeMap;
use std::fs;

/// A finished run of two arms, of a few steps each, as the program writes it.
fn run() -> Result<Case> {
    let place = tempfile::tempdir()?;
    let file = place.path().join("x.toml");
    let text = "name = \"x\"\n[subjects]\ncount = 1\n[training]\nsteps = 2\n[validation]\nevery = 1\nprompts = 1\npictures_per_prompt = 2\n\
        [test]\nprompts = 1\npictures_per_prompt = 1\n[rules]\nlambda = [0.5]\nmean = [\"harmonic\"]\nlast = true\n\
        [[arm]]\nname = \"a\"\n[[arm]]\nname = \"b\"\n";
    fs::write(&file, text)?;
    let (experiment, layers) = rpo_experiment::read(&file, &[], &[])?;
    let resolved = toml::to_string_pretty(&experiment)?;
    let plan = Plan::of(experiment, &layers)?;
    let run = Run {
        path: place.path().join("run"),
    };
    let info = RunInfo {
        records: RECORDS,
        version: env!("CARGO_PKG_VERSION").into(),
        inputs: "00".into(),
        machine: "cpu".into(),
        experiment_folder: "/".into(),
        sources: BTreeMap::new(),
        computed: String::new(),
        solver: "DDIM".into(),
        judges: "00".into(),
        references: BTreeMap::from([("lion".to_owned(), "00".to_owned())]),
        size: 64,
        cells: plan.cells.clone(),
    };
    rpo_files::output::write_json(&run.path.join("run.json"), &info)?;
    rpo_files::output::write_json(&run.plan_path(), &plan)?;
    rpo_files::write(&run.path.join("resolved.toml"), resolved.as_bytes())?;
    for cell in &plan.cells {
        trajectory(&run.trajectory(cell), &plan.prompts(cell, Purpose::Test))?;
    }
    Case::read(&run.path)
}

fn trajectory(folder: &Folder, prompts: &[String]) -> Result<()> {
    let score = |image, text| Score { image, text };
    let average = Candidate {
        step: 2,
        variant: Variant::Ema,
    };
    let validation = |candidate: Candidate| Record::Validation {
        candidate,
        scores: vec![
            score(0.3 + candidate.step as f64 / 10., 0.2),
            score(0.4, 0.3),
        ],
    };
    let step = |step| Record::Step {
        step,
        terms: BTreeMap::from([("sim".into(), 0.5), ("pref".into(), 0.25)]),
        loss: 0.75,
        grad_norm: 1.5,
    };
    fs::create_dir_all(folder.0.join("state"))?;
    folder.append(&[
        validation(0.into()),
        step(1),
        validation(1.into()),
        step(2),
        validation(average),
        validation(2.into()),
    ])?;
    folder.point_to(2, true)?;
    folder.write_times(&Times::default())?;
    for candidate in [0.into(), 1.into(), average, 2.into()] {
        let column = Column {
            name: "CLIP-I".into(),
            computed_by: "micro".into(),
            explanation: "like the subject".into(),
            higher_is_better: Some(true),
        };
        let pictures = (0..prompts.len()).map(|prompt| PictureResult {
            prompt,
            picture: 0,
            values: vec![0.5],
            score: score(0.3, 0.2),
        });
        let result = StepResult {
            candidate,
            prompts: prompts.to_vec(),
            columns: vec![column],
            pictures: pictures.collect(),
        };
        result.write(folder)?;
    }
    Ok(())
}

/// Makes lengths and hashes of changed records right, as an editor of them could.
fn repair(case: &mut Case) {
    let latest: Vec<String> = case
        .files
        .keys()
        .filter(|n| n.ends_with("state/latest.json"))
        .cloned()
        .collect();
    for name in latest {
        let record = name.replace("state/latest.json", "metrics.jsonl");
        let Some(record) = case.files.get(&record) else {
            continue;
        };
        let text = format!(
            r#"{{"step": 2, "metrics_bytes": {}, "metrics_blake3": "{}", "done": true}}"#,
            record.len(),
            blake3::hash(record).to_hex()
        );
        case.files.insert(name, text.into_bytes());
    }
    let sums: Vec<String> = case
        .files
        .keys()
        .filter(|n| n.ends_with(SUMS))
        .cloned()
        .collect();
    for name in sums {
        let folder = name.trim_end_matches(SUMS);
        let files = case
            .files
            .iter()
            .filter(|(n, _)| n.starts_with(folder) && **n != name);
        let lines = files.map(|(n, bytes)| {
            format!("{}  {}\n", blake3::hash(bytes).to_hex(), &n[folder.len()..])
        });
        let text: String = lines.collect();
        case.files.insert(name, text.into_bytes());
    }
}

pub(super) const REPORT: Target = Target {
    repair: Some(repair),
    verb: true,
    writes: true,
    memory: 256 << 20,
    ..Target::new(
        "report",
        "`report` of a run's records",
        || Ok(vec![run().context("a run")?]),
        |folder| program(&["report", &folder.display().to_string()]),
    )
};

pub(super) const SUMS_FILE: Target = Target::new(
    "sums",
    "checksums of a folder",
    || {
        let files = [("a.bin", &b"one"[..]), ("b/c.bin", b"two")];
        let line =
            |(name, bytes): &(&str, &[u8])| format!("{}  {name}\n", blake3::hash(bytes).to_hex());
        let text: String = files.iter().map(line).collect();
        let case = files.iter().fold(Case::default(), |case, (name, bytes)| {
            case.with(name, *bytes)
        });
        Ok(vec![case.with(SUMS, text.into_bytes())])
    },
    |folder| {
        check_sum(folder, "a.bin")?;
        check_sums(folder)
    },
);
