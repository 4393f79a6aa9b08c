//! Statistics whose unit is the subject: pictures of one subject are averaged before anything is compared.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use crate::equivalence::Equivalence;
use crate::paired::Interval;
use crate::permutation::sign_flip;

/// The value of a metric for one test picture (or for one prompt, if the metric is of a set of pictures).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The subject, the unit of every comparison.
    pub subject: String,
    /// What it is paired by within its subject: the seed, and whatever else must be equal for a fair pair.
    pub pair: String,
    /// The test prompt.
    pub prompt: String,
    /// The value.
    pub value: f64,
}

/// The mean of each subject's samples over seeds, prompts and pictures.
///
/// # Errors
/// If a value is not finite, with subject and prompt.
pub fn by_subject(samples: &[Sample]) -> Result<BTreeMap<String, f64>> {
    means(samples, |sample| sample.subject.clone())
}

/// The paper's "std over subjects and prompts": the standard deviation (denominator n - 1) over all
/// (subject, prompt) cells of the cell's mean over its pictures. `None` for fewer than two cells.
///
/// It measures the variation between these cells, not the uncertainty of the mean.
///
/// # Errors
/// A value that is not finite.
pub fn paper_std(samples: &[Sample]) -> Result<Option<f64>> {
    let cells: Vec<f64> = means(samples, |s| (s.subject.clone(), s.prompt.clone()))?
        .into_values()
        .collect();
    Ok(if cells.len() < 2 {
        None
    } else {
        Some(Interval::of(&cells)?.std)
    })
}

fn means<K: Ord>(samples: &[Sample], key: impl Fn(&Sample) -> K) -> Result<BTreeMap<K, f64>> {
    let mut sums: BTreeMap<K, (f64, usize)> = BTreeMap::new();
    for sample in samples {
        if !sample.value.is_finite() {
            bail!(
                "the value of subject `{}`, prompt `{}` is {}",
                sample.subject,
                sample.prompt,
                sample.value
            );
        }
        let (sum, count) = sums.entry(key(sample)).or_default();
        *sum += sample.value;
        *count += 1;
    }
    Ok(sums
        .into_iter()
        .map(|(key, (sum, count))| (key, sum / count as f64))
        .collect())
}

/// In how many trajectories two arms chose the same checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SameCheckpoint {
    /// Number with the same checkpoint …
    pub same: usize,
    /// … out of this many.
    pub of: usize,
}

impl SameCheckpoint {
    /// Compares the choices of two arms, each a map from subject and seed to the chosen checkpoint.
    /// Entries of only one arm are ignored. `None` if there is none in common.
    #[must_use]
    pub fn count(a: &BTreeMap<String, String>, b: &BTreeMap<String, String>) -> Option<Self> {
        let common: Vec<bool> = a
            .iter()
            .filter_map(|(name, x)| b.get(name).map(|y| x == y))
            .collect();
        let same = common.iter().filter(|&&same| same).count();
        (!common.is_empty()).then_some(Self {
            same,
            of: common.len(),
        })
    }

    /// Whether the two arms are the same models.
    #[must_use]
    pub fn everywhere(self) -> bool {
        self.same == self.of
    }
}

impl std::fmt::Display for SameCheckpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "same checkpoint in {} of {}", self.same, self.of)
    }
}

/// The mean of each (subject, pair) of a row.
pub type Units = BTreeMap<(String, String), f64>;

/// The mean of the samples of each subject and pair.
///
/// # Errors
/// If a value is not finite, with subject and prompt.
pub fn units(samples: &[Sample]) -> Result<Units> {
    means(samples, |s| (s.subject.clone(), s.pair.clone()))
}

/// A row against a baseline in one metric, paired by subject.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The baseline's name.
    pub against: String,
    /// Mean of the per-subject differences, row minus baseline, with its Student t interval.
    pub difference: Interval,
    /// Student's p after Holm's correction over the rows compared with this baseline in this metric.
    pub p_holm: Option<f64>,
    /// p of the sign-flip permutation test ([`sign_flip`]).
    #[serde(default)]
    pub p_permutation: Option<f64>,
    /// The same after Holm's correction over the same rows.
    #[serde(default)]
    pub p_permutation_holm: Option<f64>,
    /// Number of subjects that are better in the row; `None` if neither direction is better.
    #[serde(default)]
    pub improved: Option<usize>,
    /// Mean difference of the tenth of the subjects (rounded up) that fares worst; `None` if neither direction is better.
    #[serde(default)]
    pub worst_tenth: Option<f64>,
    /// Whether the two are shown to be equal within a margin.
    #[serde(default)]
    pub equivalence: Option<Equivalence>,
    /// How often both chose the same checkpoint, if known.
    pub same_checkpoint: Option<SameCheckpoint>,
}

impl Comparison {
    /// Compares two rows on the subjects and pairs that both have: differences are averaged within a subject first. `None` if they
    /// have none in common. With one subject there is no interval and no p; if all differences are 0, p is 1.
    ///
    /// `bits` supplies random signs where there are too many subjects to count all assignments. The p's after Holm's correction
    /// are left to [`holm`].
    ///
    /// # Errors
    /// A value that is not finite.
    pub fn of(
        row: &Units,
        baseline: (&str, &Units),
        higher_is_better: Option<bool>,
        margin: f64,
        bits: impl FnMut() -> u64,
    ) -> Result<Option<Self>> {
        let (against, baseline) = baseline;
        let mut of_subject: BTreeMap<&str, (f64, usize)> = BTreeMap::new();
        for (unit, value) in row {
            if let Some(other) = baseline.get(unit) {
                let (sum, count) = of_subject.entry(&unit.0).or_default();
                *sum += value - other;
                *count += 1;
            }
        }
        if of_subject.is_empty() {
            return Ok(None);
        }
        let mean = |(sum, count): &(f64, usize)| sum / *count as f64;
        let differences: Vec<f64> = of_subject.values().map(mean).collect();
        let difference = Interval::of(&differences)?;
        let gains = higher_is_better.map(|up| {
            let mut gains: Vec<f64> = differences
                .iter()
                .map(|d| if up { *d } else { -d })
                .collect();
            gains.sort_by(f64::total_cmp);
            gains
        });
        Ok(Some(Self {
            against: against.to_owned(),
            p_holm: None,
            p_permutation: sign_flip(&differences, bits),
            p_permutation_holm: None,
            improved: gains
                .as_ref()
                .map(|gains| gains.iter().filter(|gain| **gain > 0.0).count()),
            worst_tenth: gains.map(|gains| {
                let worst = &gains[..gains.len().div_ceil(10)];
                let mean = worst.iter().sum::<f64>() / worst.len() as f64;
                if higher_is_better == Some(true) {
                    mean
                } else {
                    -mean
                }
            }),
            equivalence: Equivalence::of(&difference, margin),
            difference,
            same_checkpoint: None,
        }))
    }
}

/// Holm's step-down correction: the adjusted p-values in the order given.
///
/// The k-th smallest of m (from 0) becomes `(m - k) p`, at least its predecessor, at most 1. A test without a
/// p-value is left out of the family.
#[must_use]
pub fn holm(p: &[Option<f64>]) -> Vec<Option<f64>> {
    let mut order: Vec<(usize, f64)> = p
        .iter()
        .enumerate()
        .filter_map(|(i, p)| p.map(|p| (i, p)))
        .collect();
    order.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut adjusted = vec![None; p.len()];
    let mut floor = 0.0f64;
    for (rank, &(index, p)) in order.iter().enumerate() {
        floor = floor.max(((order.len() - rank) as f64 * p).min(1.0));
        adjusted[index] = Some(floor);
    }
    adjusted
}
