//! The rows of the test table: the base model, then every rule of every arm, then what one gets without a rule.

use crate::files;
use crate::run_folder::RunFolder;
use crate::runner::exam::{Choices, StepResult, choices, result_path};
use crate::runner::setup::Setup;
use crate::runner::state::Folder;
use anyhow::Result;
use rpo_experiment::RewardText;
use rpo_experiment::plan::Cell;
use rpo_report::table::{Arm, Metric, Table};
use rpo_reward::select::Kind;
use rpo_reward::{Lambda, Mean};
use rpo_stats::Sample;
use std::collections::BTreeMap;

/// Name of the base model's row.
pub(super) const STEP_0: &str = "step 0";

/// λ of the λ-harmonic columns.
const LAMBDAS: [f64; 3] = [0.3, 0.5, 0.7];

/// A row: a rule of an arm, or the base model.
pub(super) struct Row {
    /// Its name in the table.
    pub(super) name: String,
    /// Place of the arm.
    pub(super) arm: usize,
    /// Place of the rule; `None` for the base model.
    pub(super) rule: Option<usize>,
    /// For every cell of its arm: the chosen step and its test result.
    pub(super) results: Vec<(Cell, StepResult)>,
}

/// Reads the test results that belong to each row.
pub(super) fn rows(setup: &Setup, folder: &RunFolder, cells: &[Cell]) -> Result<Vec<Row>> {
    let mut chosen: BTreeMap<&str, Choices> = BTreeMap::new();
    for cell in cells {
        chosen.insert(&cell.id, choices(setup, &folder.trajectory(cell))?);
    }
    let read = |cell: &Cell, step: usize| -> Result<(Cell, StepResult)> {
        let path = result_path(&Folder(folder.trajectory(cell).0), step);
        Ok((cell.clone(), files::read_json(&path)?))
    };
    let of_arm = |arm: usize| cells.iter().filter(move |c| c.arm == arm);
    let base: Result<_> = of_arm(0).map(|c| read(c, 0)).collect();
    let mut rows = vec![Row {
        name: STEP_0.into(),
        arm: 0,
        rule: None,
        results: base?,
    }];
    for (a, arm) in setup.arms.iter().enumerate() {
        for (r, rule) in setup.rules.iter().enumerate() {
            let results: Result<_> = of_arm(a)
                .map(|cell| {
                    let c = &chosen[cell.id.as_str()];
                    read(cell, c.steps[c.decisions[r].chosen])
                })
                .collect();
            let name = match setup.arms.len() {
                1 => rule.name.clone(),
                _ => format!("{} · {}", arm.name, rule.name),
            };
            rows.push(Row {
                name,
                arm: a,
                rule: Some(r),
                results: results?,
            });
        }
    }
    Ok(rows)
}

/// The table's columns.
pub(super) fn metrics(setup: &Setup) -> Vec<Metric> {
    let e = &setup.experiment.encoders;
    let token = |rule: RewardText| match rule {
        RewardText::Keep => "token kept",
        RewardText::Remove => "token removed",
    };
    let named = |folder: &str| match folder.starts_with(&e.label) {
        true => folder.to_owned(),
        false => format!("{} {folder}", e.label),
    };
    let mut metrics = vec![
        Metric::new(e.vit_name.clone(), named(&e.vit)),
        Metric::new("CLIP-I", named(&e.clip)),
        Metric::new(
            "CLIP-T",
            format!("{}, {}", named(&e.clip), token(e.clip_text)),
        ),
    ];
    for lambda in LAMBDAS {
        metrics.push(Metric::new(
            format!("{lambda}-Harmonic"),
            format!("{}, {}", named(&e.reward), token(e.reward_text)),
        ));
    }
    metrics
}

/// Averages, intervals and comparisons; the baselines are step 0 and, where it is a rule, every arm's last step.
pub(super) fn table(setup: &Setup, rows: &[Row]) -> Result<Table> {
    let arms: Vec<Arm> = rows
        .iter()
        .map(|row| arm(setup, row))
        .collect::<Result<_>>()?;
    let mut against = vec![STEP_0];
    let last = rows
        .iter()
        .filter(|r| r.rule.is_some_and(|i| setup.rules[i].kind == Kind::Last));
    against.extend(last.map(|r| r.name.as_str()));
    let e = &setup.experiment;
    let recipes: Vec<String> = setup
        .arms
        .iter()
        .map(|a| match a.name == a.preset.name() {
            true => a.describe(),
            false => format!("{}: {}", a.name, a.describe()),
        })
        .collect();
    let prompts = setup.subject(&setup.cells[0]).prompts.test.len();
    let title = format!(
        "{} · model {} · {} subjects x {} test prompts x {} pictures, seeds {:?} · recipe {}",
        e.reproduces,
        e.model.path,
        setup.subjects.len(),
        prompts,
        e.test.pictures_per_prompt,
        e.seeds,
        recipes.join(" | ")
    );
    Table::build(title, metrics(setup), &arms, &against)
}

fn arm(setup: &Setup, row: &Row) -> Result<Arm> {
    let harmonic: Vec<Lambda> = LAMBDAS
        .iter()
        .map(|l| Lambda::try_new(*l))
        .collect::<Result<_, _>>()?;
    let mut samples = vec![Vec::new(); 3 + harmonic.len()];
    let mut chosen = BTreeMap::new();
    for (cell, result) in &row.results {
        let subject = &setup.subjects[cell.subject].name;
        let training = if result.step == 0 {
            "base"
        } else {
            cell.id.as_str()
        };
        chosen.insert(
            format!("{subject}/{}", cell.seed),
            format!("{training}@{}", result.step),
        );
        for p in &result.pictures {
            let values = [p.vit_i, p.clip_i, p.clip_t]
                .into_iter()
                .chain(harmonic.iter().map(|l| Mean::Harmonic.reward(p.score, *l)));
            for (column, value) in samples.iter_mut().zip(values) {
                let prompt = result.prompts[p.prompt].clone();
                column.push(Sample {
                    subject: subject.clone(),
                    prompt,
                    value,
                });
            }
        }
    }
    Ok(Arm {
        name: row.name.clone(),
        chosen,
        samples,
    })
}
