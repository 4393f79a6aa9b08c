//! Statistics whose unit is the subject: pictures of one subject are averaged before anything is compared.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use crate::paired::Interval;

/// The value of a metric for one test picture (or for one prompt, if the metric is of a set of pictures).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The subject, the unit of every comparison.
    pub subject: String,
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

/// An arm against a baseline in one metric, paired by subject.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The baseline's name.
    pub against: String,
    /// Mean of the per-subject differences, arm minus baseline, with its Student t interval.
    pub difference: Interval,
    /// p after Holm's correction over the arms compared with this baseline in this metric.
    pub p_holm: Option<f64>,
    /// How often both chose the same checkpoint, if known.
    pub same_checkpoint: Option<SameCheckpoint>,
}

/// Pairs two arms by subject: the mean of `arm - baseline` with its interval and p.
///
/// If all differences are 0 (the same checkpoint everywhere), p is 1. With one subject there is no interval and no p.
///
/// # Errors
/// Arms with different subjects, or none.
pub fn compare(arm: &BTreeMap<String, f64>, baseline: &BTreeMap<String, f64>) -> Result<Interval> {
    if !arm.keys().eq(baseline.keys()) {
        let only = |a: &BTreeMap<String, f64>, b: &BTreeMap<String, f64>| {
            a.keys()
                .filter(|k| !b.contains_key(*k))
                .cloned()
                .collect::<Vec<_>>()
                .join(", ")
        };
        bail!(
            "a paired comparison needs the same subjects on both sides; only in the arm: [{}], only in the baseline: [{}]",
            only(arm, baseline),
            only(baseline, arm)
        );
    }
    let (a, b): (Vec<f64>, Vec<f64>) = arm.values().zip(baseline.values()).unzip();
    Ok(Interval::of_difference(&a, &b)?)
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
