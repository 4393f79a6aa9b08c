//! The test table: all results of a run.

use serde::{Deserialize, Serialize};

/// Results on test prompts and test noise.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TestTable {
    /// Columns.
    pub metrics: Vec<Metric>,
    /// Index in `metrics` of the metric in the headline.
    pub primary: usize,
    /// Rows.
    pub rows: Vec<TestRow>,
    /// How intervals and p were computed, as text.
    pub statistics: String,
}

/// A column of the test table.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Metric {
    /// Shown as the column's head, e.g. `ViT-I micro`.
    pub label: String,
    /// The network that computes it; empty for none.
    pub encoder: String,
    /// What it measures, in a sentence.
    pub explanation: String,
    /// Whether higher is better; `None` if neither direction is.
    pub higher_is_better: Option<bool>,
}

/// Kind of a row of the test table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RowKind {
    /// The base model, step 0.
    Base,
    /// A checkpoint chosen by a rule.
    #[default]
    Chosen,
    /// The last step.
    Last,
    /// Anything else, e.g. the references themselves.
    Other,
}

/// A row of the test table.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TestRow {
    /// Unique name; [`Difference::against`] refers to it.
    pub id: String,
    /// Shown to the reader, e.g. `λ = 0.3 harmonic`.
    pub label: String,
    /// Arm, as in [`Trajectory::arm`](super::data::Trajectory::arm).
    pub arm: String,
    /// [`Rule::id`](super::data::Rule::id) where a rule chose the checkpoints.
    pub rule: Option<String>,
    /// Its kind.
    pub kind: RowKind,
    /// One entry per metric.
    pub cells: Vec<Cell>,
    /// Values of each subject, the unit of every interval above.
    pub subjects: Vec<SubjectValues>,
    /// Median step of the row's checkpoints.
    pub median_step: Option<f64>,
    /// E.g. "same checkpoint as λ = 0.5 harmonic in 7 of 8".
    pub same_checkpoint: Option<String>,
}

/// One metric of one row.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Cell {
    /// Mean over subjects of the subject's mean.
    pub mean: Option<f64>,
    /// 95 % interval of `mean`; `None` below two subjects.
    pub interval: Option<[f64; 2]>,
    /// The paper's standard deviation, over subjects and prompts.
    pub std: Option<f64>,
    /// Paired differences to other rows.
    pub differences: Vec<Difference>,
}

/// A paired difference: this row minus another.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Difference {
    /// [`TestRow::id`] of the other row.
    pub against: String,
    /// Mean over subjects.
    pub mean: f64,
    /// 95 % interval; `None` below two subjects.
    pub interval: Option<[f64; 2]>,
    /// p after Holm's adjustment; `None` below two subjects.
    pub p_holm: Option<f64>,
}

/// One subject of one row of the test table.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SubjectValues {
    /// Subject (with its seed where there are several).
    pub subject: String,
    /// Step of its checkpoint.
    pub step: Option<usize>,
    /// One value per metric.
    pub values: Vec<Option<f64>>,
}
