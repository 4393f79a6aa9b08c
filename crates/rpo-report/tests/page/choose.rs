//! The page's selection against `rpo_reward::select`: the script runs in node on tables made here.

use std::io::Write;
use std::process::Command;

use rpo_reward::{Candidate, Lambda, Mean, Scale, Score, Variant, mean_reward, select};
use serde_json::{Value, json};

use crate::{between, invented, scripts};

const CHOOSE: &str = include_str!("../../page/choose.js");

/// Runs a script; `None`, with a message, if node is missing.
fn node(script: &str) -> Option<Value> {
    if Command::new("node").arg("--version").output().is_err() {
        // Not captured in a passing test: CI counts these lines.
        let _ = writeln!(
            std::io::stderr(),
            "skipped: node is not installed, the page's script was not run"
        );
        return None;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("script.cjs");
    std::fs::write(&path, script).expect("the script is written");
    let output = Command::new("node").arg(&path).output().expect("node runs");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "node: {complaint}");
    Some(serde_json::from_slice(&output.stdout).expect("JSON from the script"))
}

/// Score tables of all relevant kinds: noise, plateaus of exact ties (marked `true`), zeros, a single
/// validation.
fn tables() -> Vec<(bool, Vec<Vec<Score>>)> {
    let mut dice = invented::Dice(7);
    let score = |image, text| Score { image, text };
    let mut tables = vec![(true, vec![vec![score(0.0, 0.4), score(0.7, 0.0)]])];
    for number in 0..60usize {
        // Two or four levels make exact ties, between pictures and between validations.
        let levels = [2.0, 4.0, 1e9][number % 3];
        let mut draw = || (dice.uniform() * levels).floor() / (levels - 1.0).max(1.0);
        let mut picture = |_| score(draw().min(1.0), draw().min(1.0));
        let validations = 0..1 + number % 10;
        let table = validations.map(|_| (0..1 + number % 4).map(&mut picture).collect());
        tables.push((levels < 1e9, table.collect()));
    }
    tables
}

/// Step 0, then up to three candidates of every step.
fn candidate(i: usize, each: usize) -> Candidate {
    let half = Scale::new(0.5).expect("in range");
    let variants = [Variant::Trained, Variant::Ema, Variant::Scaled(half)];
    let Some(after) = i.checked_sub(1) else {
        return Candidate::BASE;
    };
    Candidate {
        step: 40 * (after / each + 1),
        variant: variants[each - 1 - after % each],
    }
}

#[test]
fn the_page_chooses_as_the_program_does() {
    let (mut cases, mut expected) = (Vec::new(), Vec::new());
    for (exact, table) in tables() {
        let validations: Vec<_> = table
            .iter()
            .enumerate()
            .map(|(i, scores)| select::Validation {
                candidate: candidate(i, 1 + table.len() % 3),
                scores: scores.clone(),
            })
            .collect();
        for mean in [Mean::Harmonic, Mean::Arithmetic, Mean::Geometric] {
            // `powf` is not rounded identically everywhere, so mathematical ties may be decided either way.
            if mean == Mean::Geometric && exact {
                continue;
            }
            for lambda in [0.0, 0.01, 0.3, 0.5, 0.99, 1.0] {
                for patience in [Some(1), Some(3), None] {
                    let lambda = Lambda::try_new(lambda).expect("in range");
                    let rule = select::Rule::best("r", mean, lambda).with_patience(patience);
                    let decision = select::decide(&rule, &validations, false).expect("a decision");
                    let rewards: Vec<f64> =
                        table.iter().map(|s| mean_reward(s, mean, lambda)).collect();
                    expected.push((decision, rewards));
                    let steps: Vec<usize> = validations.iter().map(|v| v.candidate.step).collect();
                    cases.push(json!({ "table": table, "steps": steps, "mean": mean, "lambda": lambda, "patience": patience }));
                }
            }
        }
    }
    let script = format!(
        "{CHOOSE}\nconst cases = {};\nconsole.log(JSON.stringify(cases.map((c) => {{
           const rewards = c.table.map((s) => choose.meanReward(s, c.mean, c.lambda));
           return {{ rewards, ...choose.decide(rewards, c.steps, c.patience) }};
         }})));",
        Value::Array(cases.clone())
    );
    let Some(answers) = node(&script) else { return };
    let answers = answers.as_array().expect("a list");
    assert_eq!(answers.len(), expected.len());
    for ((answer, (decision, rewards)), case) in answers.iter().zip(&expected).zip(&cases) {
        assert_eq!(answer["chosen"], json!(decision.chosen), "{case}");
        assert_eq!(answer["stopped"], json!(decision.stopped_at), "{case}");
        for (here, there) in rewards
            .iter()
            .zip(answer["rewards"].as_array().expect("a list"))
        {
            let there = there.as_f64().expect("a number");
            assert!((here - there).abs() <= 1e-15, "{here} or {there}: {case}");
        }
    }
}

#[test]
fn every_script_of_the_page_can_be_read() {
    let html = rpo_report::page::render(&invented::run()).expect("a page");
    let mut sources = scripts(&html);
    let compared =
        rpo_report::page::compare(&[invented::run()], &["a".to_owned()], None).expect("a page");
    sources.push(between(&compared, "// Several runs", "</script>"));
    // Without its first line: the split above has removed the start of a comment.
    let list: Vec<_> = sources
        .iter()
        .map(|s| s.trim_start_matches(|c| c != '\n'))
        .collect();
    let script = format!(
        "for (const s of {}) new Function(s);\nconsole.log('true');",
        json!(list)
    );
    if let Some(answer) = node(&script) {
        assert_eq!(answer, json!(true));
    }
}
