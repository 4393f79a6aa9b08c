//! The test table: all results of a run.

use rpo_stats::Comparison;
pub use rpo_stats::Equivalence;
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
    /// [`TestRow::id`] of the row that others are compared with at first; the reader may choose any other.
    #[serde(default)]
    pub baseline: String,
    /// The same means by kind of prompt; empty where prompts have no kinds.
    #[serde(default)]
    pub kinds: Vec<KindValues>,
}

/// The test table of the prompts of one kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KindValues {
    /// The kind: `recontext`, `property`, `accessory`, …
    pub kind: String,
    /// Number of prompts of a subject.
    pub prompts: usize,
    /// Means over subjects, for each row, of each metric.
    pub means: Vec<Vec<Option<f64>>>,
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
    /// p of Student's test after Holm's adjustment over the rows compared with the same row; `None` below two subjects.
    pub p_holm: Option<f64>,
    /// p of Student's test alone.
    #[serde(default)]
    pub p: Option<f64>,
    /// p of the exact sign-flip permutation test.
    #[serde(default)]
    pub p_permutation: Option<f64>,
    /// The same after Holm's adjustment over the same rows.
    #[serde(default)]
    pub p_permutation_holm: Option<f64>,
    /// Number of subjects that are better in this row than in the other; `None` if neither direction is better.
    #[serde(default)]
    pub improved: Option<usize>,
    /// Number of subjects.
    #[serde(default)]
    pub subjects: usize,
    /// Mean difference of the tenth of the subjects (at least one) that fares worst.
    #[serde(default)]
    pub worst_tenth: Option<f64>,
    /// Whether the two are shown to be equal, within a margin.
    #[serde(default)]
    pub equivalence: Option<Equivalence>,
}

impl From<&Comparison> for Difference {
    fn from(c: &Comparison) -> Self {
        Self {
            against: c.against.clone(),
            mean: c.difference.mean,
            interval: c.difference.interval.map(Into::into),
            p_holm: c.p_holm,
            p: c.difference.p,
            p_permutation: c.p_permutation,
            p_permutation_holm: c.p_permutation_holm,
            improved: c.improved,
            subjects: c.difference.n,
            worst_tenth: c.worst_tenth,
            equivalence: c.equivalence,
        }
    }
}

/// One subject of one row of the test table.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SubjectValues {
    /// Subject.
    pub subject: String,
    /// Its seed, where there are several.
    #[serde(default)]
    pub seed: Option<u64>,
    /// Step of its checkpoint.
    pub step: Option<usize>,
    /// One value per metric.
    pub values: Vec<Option<f64>>,
}
