//! Rows x metrics: means with intervals, and comparisons of every row with every other.
//!
//! - [`Table::build`] averages by subject, pairs and corrects.
//! - `to_text`, `to_csv`, `subjects_csv`, `to_latex`, `to_json` write it (`docs/results.md`).

mod build;
mod costs;

use crate::page::data::KindValues;
use rpo_stats::{Comparison, Interval, SameCheckpoint, Sample};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub use build::{MOST_PAIRED, Settings};
pub use costs::{Beside, Cost};

/// A metric and the encoder that computed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metric {
    /// `CLIP-I`, `CLIP-T`, `ViT-I`, `diversity`, `0.5-Harmonic` …
    pub name: String,
    /// The encoder, and whatever else the value depends on: `micro eval_clip, without [V]`.
    pub encoder: String,
    /// Whether higher is better; `None` if neither direction is.
    #[serde(default)]
    pub higher_is_better: Option<bool>,
}

impl Metric {
    /// A metric of this name, computed by this encoder, of which more is better.
    pub fn new(name: impl Into<String>, encoder: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            encoder: encoder.into(),
            higher_is_better: Some(true),
        }
    }
}

/// The data of a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Arm {
    /// Its name, unique in the table: `ARM · RULE`, or the rule alone where there is one arm.
    pub name: String,
    /// The arm of the experiment; empty for the base model.
    pub arm: String,
    /// The rule that chose the checkpoints, or `step 0`.
    pub rule: String,
    /// Maps each subject and seed to the checkpoint whose pictures were scored: the training's id and the step.
    /// Equal strings mean the same weights (step 0 of any training is the base model). Empty if nothing was chosen.
    pub chosen: BTreeMap<String, String>,
    /// The samples of every metric, in the order of the table's metrics.
    pub samples: Vec<Vec<Sample>>,
}

/// One row in one metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Mean over subjects, with the interval of that mean.
    pub mean: Interval,
    /// The paper's std over subjects and prompts; `None` for a single cell.
    pub paper_std: Option<f64>,
    /// One per other row that has subjects in common with this one.
    pub comparisons: Vec<Comparison>,
}

impl Cell {
    /// The comparison with a row, if there is one.
    pub fn against(&self, name: &str) -> Option<&Comparison> {
        self.comparisons.iter().find(|c| c.against == name)
    }
}

/// One row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Its name: `ARM · RULE`.
    pub name: String,
    /// The arm; empty for the base model.
    pub arm: String,
    /// The rule, or `step 0`.
    pub rule: String,
    /// One per metric.
    pub cells: Vec<Cell>,
}

/// One value of a subject in a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubjectValue {
    /// Index of the row.
    pub row: usize,
    /// Subject.
    pub subject: String,
    /// What it is paired by: the seed.
    pub pair: String,
    /// The checkpoint: the training's id and the step.
    pub checkpoint: String,
    /// Mean over its pictures, for each metric; `None` without pictures.
    pub values: Vec<Option<f64>>,
}

/// The result of an experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// The subjects, prompts and recipe behind the values.
    pub title: String,
    /// The columns.
    pub metrics: Vec<Metric>,
    /// The rows, in the order of the arms.
    pub rows: Vec<Row>,
    /// Names of the rows that text, CSV and LaTeX compare with; the first is the baseline.
    pub baselines: Vec<String>,
    /// Half-width of the equivalence tests.
    pub margin: f64,
    /// One per row, subject and seed.
    pub subjects: Vec<SubjectValue>,
    /// The means by kind of prompt; empty where prompts have no kinds.
    #[serde(default)]
    pub kinds: Vec<KindValues>,
    /// Costs and published rows.
    #[serde(default)]
    pub beside: Beside,
    /// Notes: a single subject, missing cells.
    pub notes: Vec<String>,
    /// Which rows have the same checkpoints.
    pub shared: Vec<String>,
}

impl Table {
    /// The comparisons of each row with `baseline` in a metric, rows without one left out.
    pub fn compared(&self, baseline: &str, metric: usize) -> Vec<(&Row, &Comparison)> {
        let rows = self.rows.iter();
        rows.filter_map(|row| Some((row, row.cells.get(metric)?.against(baseline)?)))
            .collect()
    }

    /// The number of rows that Holm's correction is over: those tested against `baseline`.
    pub fn family(&self, baseline: &str, metric: usize) -> usize {
        let compared = self.compared(baseline, metric);
        let tested = |c: &Comparison| c.p_holm.is_some() && !one_model(c);
        compared.iter().filter(|(_, c)| tested(c)).count()
    }

    /// The whole table, indented, without times: the same results have the same bytes.
    ///
    /// # Errors
    /// Those of serde_json; none are expected, as all values are finite.
    pub fn to_json(&self) -> serde_json::Result<String> {
        let mut timeless = self.clone();
        let costs = timeless.beside.costs.iter_mut();
        costs.for_each(|cost| cost.seconds = None);
        serde_json::to_string_pretty(&timeless)
    }
}

/// Whether all checkpoints, and so all pictures, are the same: there is nothing to test.
pub(crate) fn one_model(comparison: &Comparison) -> bool {
    let difference = &comparison.difference;
    let same = comparison.same_checkpoint;
    same.is_some_and(SameCheckpoint::everywhere) && difference.mean == 0.0 && difference.std == 0.0
}
