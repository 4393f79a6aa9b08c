//! The invented test table.

use rpo_report::page::data::*;

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
    let mut rows: Vec<TestRow> = kinds
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
    let column = |row: &TestRow, m: usize| -> Vec<f64> {
        row.subjects.iter().filter_map(|s| s.values[m]).collect()
    };
    // Student's t at 7 degrees of freedom.
    let spread = |v: &[f64]| {
        let mean = v.iter().sum::<f64>() / v.len() as f64;
        let std = (v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (v.len() - 1) as f64).sqrt();
        let half = 2.365 * std / (v.len() as f64).sqrt();
        (mean, [mean - half, mean + half], std)
    };
    let (first, last) = (rows[0].clone(), rows[rows.len() - 1].clone());
    for row in &mut rows {
        row.cells = (0..metrics.len())
            .map(|m| {
                let own = column(row, m);
                let (mean, interval, std) = spread(&own);
                let differences = [&first, &last]
                    .into_iter()
                    .filter(|other| other.id != row.id)
                    .map(|other| {
                        let paired: Vec<f64> = own
                            .iter()
                            .zip(column(other, m))
                            .map(|(a, b)| a - b)
                            .collect();
                        let (mean, interval, _) = spread(&paired);
                        Difference {
                            against: other.id.clone(),
                            mean,
                            interval: Some(interval),
                            p_holm: Some(0.0421),
                            ..Difference::default()
                        }
                    })
                    .collect();
                Cell {
                    mean: Some(mean),
                    interval: Some(interval),
                    std: Some(std),
                    differences,
                }
            })
            .collect();
    }
    TestTable {
        metrics,
        primary: 0,
        rows,
        statistics: "Averaged within a subject first. Intervals: Student t over paired differences of 8 subjects, 95 %. p after Holm over the rules.".into(),
        ..TestTable::default()
    }
}
