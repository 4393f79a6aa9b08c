//! The invented test table.

use std::collections::BTreeMap;

use rpo_report::page::data::*;
use rpo_stats::{Interval, holm};

use super::{Dice, LIMIT, likeness};

fn metric(label: &str, encoder: &str, explanation: &str) -> Metric {
    Metric {
        label: label.into(),
        encoder: encoder.into(),
        explanation: explanation.into(),
        higher_is_better: Some(true),
    }
}

pub(super) fn test_table(trajectories: &[Trajectory], rules: &[Rule]) -> TestTable {
    let metrics = vec![
        metric(
            "ViT-I micro",
            "micro ViT, CLS token",
            "Mean cosine between each test picture and each reference: is it this subject?",
        ),
        metric(
            "CLIP-I micro",
            "micro CLIP, picture tower",
            "Mean cosine between each test picture and each reference.",
        ),
        metric(
            "CLIP-T micro",
            "micro CLIP, both towers",
            "Cosine between a test picture and its prompt, the token left out.",
        ),
        metric(
            "0.3-Harmonic",
            "micro reward",
            "λ-Harmonic of both alignments with weight 0.3 on the picture.",
        ),
        metric(
            "0.5-Harmonic",
            "micro reward",
            "λ-Harmonic of both alignments with equal weights.",
        ),
        metric(
            "0.7-Harmonic",
            "micro reward",
            "λ-Harmonic of both alignments with weight 0.7 on the picture.",
        ),
    ];
    let values = |subject: usize, step: usize| -> Vec<Option<f64>> {
        let (mut dice, l) = (Dice(subject as u64 + 900), likeness(step));
        let over = (step as f64 / LIMIT as f64).powi(2);
        let base = [0.42, 0.60, 0.31, 0.64, 0.65, 0.66];
        let gain = [0.28, 0.18, -0.012, 0.004, 0.03, 0.06];
        let cost = [0.0, 0.0, 0.03, 0.02, 0.012, 0.003];
        (0..6)
            .map(|m| {
                Some(
                    base[m] + gain[m] * l - cost[m] * over
                        + dice.noise(0.04)
                        + Dice((subject * 31 + step * 7 + m) as u64).noise(0.012),
                )
            })
            .collect()
    };
    let mut kinds: Vec<(String, String, Option<usize>, RowKind)> = vec![(
        "step 0".into(),
        "step 0, the base model".into(),
        None,
        RowKind::Base,
    )];
    for (i, rule) in rules.iter().enumerate() {
        let kind = if rule.kind == RuleKind::Last {
            RowKind::Last
        } else {
            RowKind::Chosen
        };
        kinds.push((rule.id.clone(), rule.label.clone(), Some(i), kind));
    }
    let rows: Vec<TestRow> = kinds
        .into_iter()
        .map(|(id, label, rule, kind)| {
            let steps: Vec<usize> = trajectories
                .iter()
                .map(|t| rule.map_or(0, |r| t.outcomes[r].chosen_step))
                .collect();
            let subjects: Vec<SubjectValues> = trajectories
                .iter()
                .enumerate()
                .map(|(s, t)| SubjectValues {
                    subject: t.subject.clone(),
                    seed: None,
                    step: Some(steps[s]),
                    values: values(s, steps[s]),
                })
                .collect();
            let mut sorted = steps.clone();
            sorted.sort_unstable();
            TestRow {
                id,
                label,
                arm: String::new(),
                rule: rule.map(|r| rules[r].id.clone()),
                kind,
                cells: Vec::new(),
                subjects,
                median_step: Some(sorted[sorted.len() / 2] as f64),
                same_checkpoint: (rule == Some(3))
                    .then(|| "same checkpoint as λ = 0.5 harmonic in 7 of 8".into()),
            }
        })
        .collect();
    let means = |scale: f64| -> Vec<Vec<Option<f64>>> {
        let of_row = |row: &TestRow| {
            let n = row.subjects.len() as f64;
            let sum = |m: usize| row.subjects.iter().filter_map(|s| s.values[m]).sum::<f64>();
            (0..metrics.len())
                .map(|m| Some(scale * sum(m) / n))
                .collect()
        };
        rows.iter().map(of_row).collect()
    };
    let kinds = [
        ("recontext", 5, 1.02),
        ("property", 3, 0.97),
        ("accessory", 1, 0.95),
    ];
    let kinds = kinds.map(|(kind, prompts, scale)| KindValues {
        kind: kind.into(),
        prompts,
        means: means(scale),
    });
    let mut table = TestTable {
        metrics,
        primary: 0,
        baseline: rows[0].id.clone(),
        kinds: kinds.into(),
        rows,
        statistics: "Averaged within a subject first. Intervals: Student t over paired differences of 8 subjects, 95 %. p after Holm over the rules.".into(),
    };
    compare_all(&mut table);
    table
}

/// Means over seeds, by subject, of the difference between two rows in a metric.
fn paired(row: &TestRow, other: &TestRow, m: usize) -> Vec<f64> {
    let mut by_subject: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for s in &row.subjects {
        let same =
            |o: &&SubjectValues| o.subject == s.subject && (o.seed == s.seed || o.seed.is_none());
        let against = other.subjects.iter().find(same).and_then(|o| o.values[m]);
        if let (Some(own), Some(against)) = (s.values[m], against) {
            by_subject
                .entry(&s.subject)
                .or_default()
                .push(own - against);
        }
    }
    let mean = |v: Vec<f64>| v.iter().sum::<f64>() / v.len() as f64;
    by_subject.into_values().map(mean).collect()
}

/// Share of the sign flips whose sum is at least as far from 0.
fn permutation(differences: &[f64]) -> f64 {
    let n = differences.len();
    let sum = |flips: usize| {
        let signed = differences.iter().enumerate();
        let signed = signed.map(|(i, d)| if flips >> i & 1 == 1 { -d } else { *d });
        signed.sum::<f64>().abs()
    };
    let own = sum(0);
    let far = (0..1usize << n).filter(|f| sum(*f) >= own - 1e-12).count();
    far as f64 / (1usize << n) as f64
}

/// Fills every cell: its mean, and the differences to every other row.
pub(crate) fn compare_all(table: &mut TestTable) {
    let rows = table.rows.clone();
    for m in 0..table.metrics.len() {
        for row in &mut table.rows {
            let own: Vec<f64> = row.subjects.iter().filter_map(|s| s.values[m]).collect();
            let mean = Interval::of(&own).expect("values");
            row.cells.resize(table.metrics.len(), Cell::default());
            row.cells[m] = Cell {
                mean: Some(mean.mean),
                interval: mean.interval.map(Into::into),
                std: Some(mean.std),
                differences: vec![],
            };
        }
        for other in &rows {
            let family: Vec<usize> = (0..rows.len())
                .filter(|i| rows[*i].id != other.id)
                .collect();
            let pairs = family.iter().map(|i| paired(&rows[*i], other, m));
            let pairs: Vec<Vec<f64>> = pairs.collect();
            let tests: Vec<Interval> = pairs
                .iter()
                .map(|p| Interval::of(p).expect("pairs"))
                .collect();
            let flips: Vec<Option<f64>> = pairs.iter().map(|p| Some(permutation(p))).collect();
            let adjusted = holm(&tests.iter().map(|t| t.p).collect::<Vec<_>>());
            let adjusted_flips = holm(&flips);
            for (k, i) in family.iter().enumerate() {
                table.rows[*i].cells[m].differences.push(Difference {
                    against: other.id.clone(),
                    mean: tests[k].mean,
                    interval: tests[k].interval.map(Into::into),
                    p_holm: adjusted[k],
                    p: tests[k].p,
                    p_permutation: flips[k],
                    p_permutation_holm: adjusted_flips[k],
                    improved: Some(pairs[k].iter().filter(|d| **d > 0.0).count()),
                    subjects: pairs[k].len(),
                    worst_tenth: pairs[k].iter().copied().reduce(f64::min),
                    equivalence: tests[k].interval.map(|(low, high)| Equivalence {
                        margin: 0.02,
                        p: if low > -0.02 && high < 0.02 {
                            0.013
                        } else {
                            0.41
                        },
                    }),
                });
            }
        }
    }
}
