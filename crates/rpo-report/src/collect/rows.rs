//! The rows of the test table: the base model, then every rule of every arm, then the last step.

use super::finished::Finished;
use super::options::Shown;
use crate::table::{Arm, Metric, Settings, Table};
use anyhow::Result;
use rpo_experiment::plan::{Cell, Plan, STEP_0};
use rpo_experiment::run::{PictureResult, StepResult};
use rpo_files::failure::BadInput;
use rpo_reward::select::Kind;
use rpo_reward::{Candidate, Lambda, Mean};
use rpo_stats::{Column, Sample};
use std::collections::{BTreeMap, BTreeSet};

/// A row: a rule of an arm, or the base model.
pub(super) struct Row<'a> {
    /// Its name in the table.
    pub(super) name: String,
    /// Index of the arm.
    pub(super) arm: usize,
    /// Index of the rule; `None` for the base model.
    pub(super) rule: Option<usize>,
    /// For every cell of its arm: the chosen step and its test result.
    pub(super) results: Vec<(&'a Cell, &'a StepResult)>,
}

impl Row<'_> {
    /// Its name within its arm.
    pub(super) fn label(&self, plan: &Plan) -> String {
        match self.rule {
            Some(rule) => plan.rules[rule].name.clone(),
            None => self.name.clone(),
        }
    }
}

/// The test results of `cells` that belong to each row.
pub(super) fn rows<'a>(plan: &Plan, cells: &[&'a Finished<'a>]) -> Vec<Row<'a>> {
    let of_arm = |arm: usize| cells.iter().copied().filter(move |c| c.cell.arm == arm);
    let result = |finished: &'a Finished<'a>, of: Candidate| -> (&'a Cell, &'a StepResult) {
        (finished.cell, &finished.tested.results[&of])
    };
    let of_row = |row: rpo_experiment::plan::Row| {
        let chosen = |c: &Finished| {
            let choices = &c.tested.choices;
            row.rule.map_or(Candidate::BASE, |r| choices.chosen(r))
        };
        let results = of_arm(row.arm).map(|c| result(c, chosen(c))).collect();
        Row {
            name: row.name,
            arm: row.arm,
            rule: row.rule,
            results,
        }
    };
    plan.rows().into_iter().map(of_row).collect()
}

/// The table's columns: those of the judges, then the λ-harmonic mean of the reward's pair for every λ of the rules.
pub(super) struct Columns {
    /// The columns, in order.
    pub(super) all: Vec<Column>,
    lambdas: Vec<Lambda>,
}

impl Columns {
    /// The columns that all results have.
    pub(super) fn of(plan: &Plan, rows: &[Row]) -> Self {
        // Cells tested by programs with other judges are compared in their common columns.
        let mut results = rows.iter().flat_map(|row| &row.results);
        let mut all = match results.next() {
            Some((_, first)) => first.columns.clone(),
            None => Vec::new(),
        };
        for (_, result) in results {
            all.retain(|column| place(result, column).is_some());
        }
        let mut lambdas: Vec<Lambda> = Vec::new();
        for rule in plan.rules.iter().filter(|r| r.kind == Kind::Best) {
            if !lambdas.contains(&rule.lambda) {
                lambdas.push(rule.lambda);
            }
        }
        if lambdas.is_empty() {
            lambdas.push(Lambda::HALF);
        }
        lambdas.sort_by(|a, b| a.get().total_cmp(&b.get()));
        let e = &plan.experiment.encoders;
        all.extend(lambdas.iter().map(|lambda| Column {
            name: format!("{}-Harmonic", lambda.get()),
            computed_by: format!("{}, {}", e.in_words(&e.reward), e.reward_text.in_words()),
            explanation: "λ-harmonic mean of image and text alignment, by the reward's encoder, on test pictures.".into(),
            higher_is_better: Some(true),
        }));
        Self { all, lambdas }
    }

    /// The columns as a table has them.
    pub(super) fn metrics(&self) -> Vec<Metric> {
        let of = |c: &Column| Metric {
            name: c.name.clone(),
            encoder: c.computed_by.clone(),
            higher_is_better: c.higher_is_better,
        };
        self.all.iter().map(of).collect()
    }

    /// The values of a picture of `result` in all columns.
    pub(super) fn values(&self, result: &StepResult, picture: &PictureResult) -> Vec<f64> {
        let harmonic = self
            .lambdas
            .iter()
            .map(|l| Mean::Harmonic.reward(picture.score, *l));
        let judged = self.all.iter().filter_map(|column| place(result, column));
        judged.map(|i| picture.values[i]).chain(harmonic).collect()
    }

    /// The column of the page's answer: the λ-harmonic mean with λ nearest to one half.
    pub(super) fn primary(&self) -> usize {
        // In thousandths: .3 and .7 are then equally far, and the first is taken.
        let far = |l: &Lambda| (1000.0 * (l.get() - 0.5).abs()).round();
        let judged = self.all.len() - self.lambdas.len();
        let nearest = self.lambdas.iter().enumerate();
        let nearest = nearest.min_by(|a, b| far(a.1).total_cmp(&far(b.1)));
        judged + nearest.map_or(0, |(i, _)| i)
    }
}

/// Index of a column in a result. Its explanation may differ in wording.
fn place(result: &StepResult, column: &Column) -> Option<usize> {
    let same = |c: &Column| c.name == column.name && c.computed_by == column.computed_by;
    result.columns.iter().position(same)
}

/// Averages, intervals and comparisons. Without a baseline by name it is step 0.
pub(super) fn table(plan: &Plan, columns: &Columns, rows: &[Row], shown: &Shown) -> Result<Table> {
    let arms: Vec<Arm> = rows
        .iter()
        .map(|row| arm(plan, columns, row, &|cell| cell.seed.to_string()))
        .collect::<Result<_>>()?;
    let report = &plan.experiment.report;
    let named = shown.baseline.as_ref().unwrap_or(&report.baseline);
    let baseline = match named.as_str() {
        "" => STEP_0.to_owned(),
        name => plan.row_named(name).map_err(BadInput::new)?,
    };
    let settings = Settings {
        baselines: vec![baseline],
        margin: shown.margin.unwrap_or(report.margin),
    };
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
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let seeds = distinct(rows, |c| c.seed);
    let named: Vec<String> = seeds.iter().map(u64::to_string).collect();
    let title = format!(
        "{} · model {} · {} x {} x {}, seed{} {} · recipe {}",
        match e.reproduces.as_str() {
            "" => &e.name,
            reproduces => reproduces,
        },
        e.model.path,
        count(distinct(rows, |c| c.subject).len(), "subject"),
        count(prompts, "test prompt"),
        count(e.test.pictures_per_prompt, "picture"),
        if seeds.len() == 1 { "" } else { "s" },
        named.join(", "),
        recipes.join(" | ")
    );
    Table::build(title, columns.metrics(), &arms, &settings)
}

fn distinct<T: Ord>(rows: &[Row], of: fn(&Cell) -> T) -> BTreeSet<T> {
    let cells = rows.iter().flat_map(|row| &row.results);
    cells.map(|(cell, _)| of(cell)).collect()
}

/// A row's samples; `pair` tells what a cell's are paired by.
pub(super) fn arm(
    plan: &Plan,
    columns: &Columns,
    row: &Row,
    pair: &dyn Fn(&Cell) -> String,
) -> Result<Arm> {
    let mut samples = vec![Vec::new(); columns.all.len()];
    let mut chosen = BTreeMap::new();
    for (cell, result) in &row.results {
        let subject = &plan.subjects[cell.subject].name;
        // The base, as its arm draws with it.
        let training = match (result.candidate.step, plan.arm(cell).recipe.reward_guidance) {
            (0, None) => "base".to_owned(),
            (0, Some(scale)) => format!("base, reward guidance {scale}"),
            _ => cell.id.clone(),
        };
        chosen.insert(
            format!("{subject}/{}", pair(cell)),
            format!("{training}@{}", result.candidate),
        );
        for p in &result.pictures {
            for (column, value) in samples.iter_mut().zip(columns.values(result, p)) {
                let prompt = result.prompts[p.prompt].clone();
                column.push(Sample {
                    subject: subject.clone(),
                    pair: pair(cell),
                    prompt,
                    value,
                });
            }
        }
    }
    Ok(Arm {
        name: row.name.clone(),
        arm: match row.rule {
            Some(_) => plan.arms[row.arm].name.clone(),
            None => String::new(),
        },
        rule: row
            .rule
            .map_or_else(|| STEP_0.to_owned(), |i| plan.rules[i].name.clone()),
        chosen,
        samples,
    })
}
