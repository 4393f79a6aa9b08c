//! Arms x metrics: means with intervals and comparisons, as text, CSV and JSON.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use rpo_stats::{
    Comparison, Interval, SameCheckpoint, Sample, by_subject, compare, holm, paper_std,
};

/// A metric and the encoder that computed it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Metric {
    /// `CLIP-I`, `CLIP-T`, `ViT-I`, `diversity`, `0.5-harmonic` …
    pub name: String,
    /// The encoder, and whatever else the value depends on: `micro eval_clip, without [V]`.
    pub encoder: String,
}

impl Metric {
    /// A metric of this name, computed by this encoder.
    pub fn new(name: impl Into<String>, encoder: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            encoder: encoder.into(),
        }
    }
}

/// The data of an arm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Arm {
    /// Its name, unique in the table.
    pub name: String,
    /// Maps each subject and seed to the checkpoint whose pictures were scored: the training's id and the step.
    /// Equal strings mean the same weights (step 0 of any training is the base model). Empty if nothing was chosen.
    pub chosen: BTreeMap<String, String>,
    /// The samples of every metric, in the order of the table's metrics.
    pub samples: Vec<Vec<Sample>>,
}

/// One arm in one metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Mean over subjects, with the interval of that mean.
    pub mean: Interval,
    /// The paper's std over subjects and prompts; `None` for a single cell.
    pub paper_std: Option<f64>,
    /// One per baseline other than the arm itself.
    pub comparisons: Vec<Comparison>,
}

/// One arm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The arm's name.
    pub arm: String,
    /// One per metric.
    pub cells: Vec<Cell>,
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
    /// Notes: a single subject, missing cells.
    pub notes: Vec<String>,
    /// Which arms have the same checkpoints.
    #[serde(default)]
    pub shared: Vec<String>,
}

impl Table {
    /// Averages by subject, compares every arm with every baseline named in `against`, and corrects the p-values
    /// of each metric and baseline over the arms (Holm). Arms with the baseline's checkpoints everywhere are not
    /// tested: they have p = 1 and are excluded from the correction.
    ///
    /// # Errors
    /// Arms without samples or with different subjects, two arms with the same name, a baseline that is not an arm.
    pub fn build(
        title: impl Into<String>,
        metrics: Vec<Metric>,
        arms: &[Arm],
        against: &[&str],
    ) -> Result<Self> {
        for (i, arm) in arms.iter().enumerate() {
            if arms[..i].iter().any(|other| other.name == arm.name) {
                bail!(
                    "two arms are named `{}`: give one of them another name",
                    arm.name
                );
            }
            if arm.samples.len() != metrics.len() {
                bail!(
                    "arm `{}` has samples of {} metrics, the table has {}",
                    arm.name,
                    arm.samples.len(),
                    metrics.len()
                );
            }
        }
        if let Some(missing) = against
            .iter()
            .find(|&&name| arms.iter().all(|arm| arm.name != name))
        {
            bail!("the baseline `{missing}` is not among the arms");
        }
        let mut columns = Vec::with_capacity(metrics.len());
        for (index, metric) in metrics.iter().enumerate() {
            columns.push(
                column(index, arms, against).with_context(|| format!("metric {}", metric.name))?,
            );
        }
        let mut rows: Vec<Row> = arms
            .iter()
            .map(|arm| Row {
                arm: arm.name.clone(),
                cells: Vec::new(),
            })
            .collect();
        for column in columns {
            for (row, cell) in rows.iter_mut().zip(column) {
                row.cells.push(cell);
            }
        }
        let mut table = Self {
            title: title.into(),
            metrics,
            rows,
            notes: Vec::new(),
            shared: Vec::new(),
        };
        table.notes.extend(table.of_one_subject());
        let (contradictions, shared) = table.same_checkpoints();
        table.notes.extend(contradictions);
        table.shared = shared;
        Ok(table)
    }

    fn of_one_subject(&self) -> Option<String> {
        let subjects = self
            .rows
            .iter()
            .flat_map(|row| &row.cells)
            .map(|cell| cell.mean.n)
            .min()
            .unwrap_or(0);
        (subjects == 1).then(|| "one subject: no interval and no test is possible".to_owned())
    }

    /// Arms with the same checkpoints but different values; and the other arms that share checkpoints.
    fn same_checkpoints(&self) -> (Vec<String>, Vec<String>) {
        let (mut contradictions, mut shared) = (Vec::new(), Vec::new());
        for row in &self.rows {
            for comparison in row.cells.first().iter().flat_map(|cell| &cell.comparisons) {
                let Some(same) = comparison.same_checkpoint.filter(|same| same.same > 0) else {
                    continue;
                };
                let pair = format!("{} and {}: {same}", row.arm, comparison.against);
                match (
                    same.everywhere(),
                    one_model(&comparison.difference, Some(same)),
                ) {
                    (true, false) => contradictions.push(format!(
                        "{pair}, yet the figures differ: the noise or the checkpoints' names are not what they should be"
                    )),
                    (true, true) => shared.push(format!("{pair}, so p = 1")),
                    (false, _) => shared.push(pair),
                }
            }
        }
        (contradictions, shared)
    }
}

fn column(index: usize, arms: &[Arm], against: &[&str]) -> Result<Vec<Cell>> {
    let mut means = Vec::with_capacity(arms.len());
    for arm in arms {
        means.push(by_subject(&arm.samples[index]).with_context(|| format!("arm `{}`", arm.name))?);
    }
    let mut cells = Vec::with_capacity(arms.len());
    for (arm, mean) in arms.iter().zip(&means) {
        let values: Vec<f64> = mean.values().copied().collect();
        let mean = Interval::of(&values).with_context(|| format!("arm `{}`", arm.name))?;
        cells.push(Cell {
            mean,
            paper_std: paper_std(&arm.samples[index])?,
            comparisons: Vec::new(),
        });
    }
    for &baseline in against {
        let Some(base) = arms.iter().position(|arm| arm.name == baseline) else {
            continue;
        };
        let others: Vec<usize> = (0..arms.len()).filter(|&i| i != base).collect();
        let mut compared = Vec::with_capacity(others.len());
        for &i in &others {
            let difference = compare(&means[i], &means[base])
                .with_context(|| format!("arm `{}` against `{baseline}`", arms[i].name))?;
            compared.push((
                i,
                difference,
                SameCheckpoint::count(&arms[i].chosen, &arms[base].chosen),
            ));
        }
        let family: Vec<Option<f64>> = compared
            .iter()
            .map(|(_, d, same)| if one_model(d, *same) { None } else { d.p })
            .collect();
        for ((i, mut difference, same_checkpoint), adjusted) in
            compared.into_iter().zip(holm(&family))
        {
            let mut p_holm = adjusted;
            if one_model(&difference, same_checkpoint) {
                difference.p = Some(1.0);
                p_holm = Some(1.0);
            }
            cells[i].comparisons.push(Comparison {
                against: baseline.to_owned(),
                difference,
                p_holm,
                same_checkpoint,
            });
        }
    }
    Ok(cells)
}

/// Whether all checkpoints, and so all pictures, are the same: there is nothing to test.
fn one_model(difference: &Interval, same: Option<SameCheckpoint>) -> bool {
    same.is_some_and(SameCheckpoint::everywhere) && difference.mean == 0.0 && difference.std == 0.0
}
