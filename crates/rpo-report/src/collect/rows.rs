//! The rows of the test table: the base model, then every rule of every arm, then what one gets without a rule.

use crate::table::{Arm, Metric, Table};
use anyhow::Result;
use rpo_experiment::RewardText;
use rpo_experiment::plan::{Cell, Plan};
use rpo_experiment::run::{Choices, Run, StepResult, choices, result_path};
use rpo_files::input;
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

/// Reads the test results of `cells` that belong to each row.
pub(super) fn rows(plan: &Plan, run: &Run, cells: &[&Cell]) -> Result<Vec<Row>> {
    let mut chosen: BTreeMap<&str, Choices> = BTreeMap::new();
    for cell in cells {
        chosen.insert(&cell.id, choices(&plan.rules, &run.trajectory(cell))?);
    }
    let read = |cell: &Cell, step: usize| -> Result<(Cell, StepResult)> {
        let path = result_path(&run.trajectory(cell), step);
        Ok((cell.clone(), input::read_json(&path)?))
    };
    let of_arm = |arm: usize| cells.iter().copied().filter(move |c| c.arm == arm);
    let base: Result<_> = of_arm(0).map(|c| read(c, 0)).collect();
    let mut rows = vec![Row {
        name: STEP_0.into(),
        arm: 0,
        rule: None,
        results: base?,
    }];
    for (a, arm) in plan.arms.iter().enumerate() {
        for (r, rule) in plan.rules.iter().enumerate() {
            let results: Result<_> = of_arm(a)
                .map(|cell| {
                    let c = &chosen[cell.id.as_str()];
                    read(cell, c.steps[c.decisions[r].chosen])
                })
                .collect();
            let name = match plan.arms.len() {
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
pub(super) fn metrics(plan: &Plan) -> Vec<Metric> {
    let e = &plan.experiment.encoders;
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
pub(super) fn table(plan: &Plan, rows: &[Row]) -> Result<Table> {
    let arms: Vec<Arm> = rows
        .iter()
        .map(|row| arm(plan, row))
        .collect::<Result<_>>()?;
    let mut against = vec![STEP_0];
    let last = rows
        .iter()
        .filter(|r| r.rule.is_some_and(|i| plan.rules[i].kind == Kind::Last));
    against.extend(last.map(|r| r.name.as_str()));
    let e = &plan.experiment;
    let recipes: Vec<String> = plan
        .arms
        .iter()
        .map(|a| match a.name == a.preset.name() {
            true => a.describe(),
            false => format!("{}: {}", a.name, a.describe()),
        })
        .collect();
    let prompts = plan.subject(&plan.cells[0]).prompts.test.len();
    let title = format!(
        "{} · model {} · {} subjects x {} test prompts x {} pictures, seeds {:?} · recipe {}",
        e.reproduces,
        e.model.path,
        plan.subjects.len(),
        prompts,
        e.test.pictures_per_prompt,
        e.seeds,
        recipes.join(" | ")
    );
    Table::build(title, metrics(plan), &arms, &against)
}

fn arm(plan: &Plan, row: &Row) -> Result<Arm> {
    let harmonic: Vec<Lambda> = LAMBDAS
        .iter()
        .map(|l| Lambda::try_new(*l))
        .collect::<Result<_, _>>()?;
    let mut samples = vec![Vec::new(); 3 + harmonic.len()];
    let mut chosen = BTreeMap::new();
    for (cell, result) in &row.results {
        let subject = &plan.subjects[cell.subject].name;
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
