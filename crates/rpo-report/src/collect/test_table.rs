//! The test table as the page shows it.

use super::rows::{Columns, Row};
use crate::page::data::{self, RowKind, SubjectValues, TestRow, TestTable};
use crate::table::Table;
use rpo_experiment::plan::Plan;
use rpo_reward::select::Kind;

pub(super) fn test_table(plan: &Plan, rows: &[Row], columns: &Columns, table: &Table) -> TestTable {
    let metrics = columns
        .all
        .iter()
        .map(|c| data::Metric {
            label: c.name.clone(),
            encoder: c.computed_by.clone(),
            explanation: c.explanation.clone(),
            higher_is_better: c.higher_is_better,
        })
        .collect();
    let table_rows = rows
        .iter()
        .zip(&table.rows)
        .map(|(row, computed)| {
            let rule = row.rule.map(|i| &plan.rules[i]);
            let cells = computed
                .cells
                .iter()
                .map(|c| data::Cell {
                    mean: Some(c.mean.mean),
                    interval: c.mean.interval.map(Into::into),
                    std: c.paper_std,
                    differences: c.comparisons.iter().map(data::Difference::from).collect(),
                })
                .collect();
            let same: Vec<String> = computed.cells[0]
                .comparisons
                .iter()
                .filter(|c| table.baselines.contains(&c.against))
                .filter_map(|c| {
                    c.same_checkpoint.filter(|s| s.same > 0).map(|s| {
                        format!("same checkpoint as {} in {} of {}", c.against, s.same, s.of)
                    })
                })
                .collect();
            TestRow {
                id: row.name.clone(),
                label: row.label(plan),
                // The base model belongs to every arm.
                arm: if plan.arms.len() > 1 && row.rule.is_some() {
                    plan.arms[row.arm].name.clone()
                } else {
                    String::new()
                },
                rule: rule.map(|r| r.name.clone()),
                kind: match rule.map(|r| r.kind) {
                    None => RowKind::Base,
                    Some(Kind::Best) => RowKind::Chosen,
                    Some(Kind::Last) => RowKind::Last,
                },
                cells,
                subjects: subject_values(plan, columns, row),
                median_step: median(row.results.iter().map(|(_, r)| r.candidate.step).collect()),
                same_checkpoint: (!same.is_empty()).then(|| same.join("; ")),
            }
        })
        .collect();
    TestTable {
        metrics,
        primary: columns.primary(),
        rows: table_rows,
        statistics: format!(
            "The unit is the subject: seeds, prompts and pictures are averaged first. Intervals are Student t at 95 %, of values or of paired differences. Beside Student's p stands that of sign flips, which assumes no distribution; both are corrected over the rows compared with the same row, in each metric alone (Holm). Equal: two one-sided tests with margin {}, not corrected.",
            table.margin
        ),
        baseline: table.baselines.first().cloned().unwrap_or_default(),
        kinds: table.kinds.clone(),
    }
}

fn subject_values(plan: &Plan, columns: &Columns, row: &Row) -> Vec<SubjectValues> {
    let several_seeds = plan.experiment.seeds.len() > 1;
    row.results
        .iter()
        .map(|(cell, result)| {
            let name = &plan.subjects[cell.subject].name;
            let n = result.pictures.len() as f64;
            let mut values = vec![0.0; columns.all.len()];
            for p in &result.pictures {
                for (sum, v) in values.iter_mut().zip(columns.values(result, p)) {
                    *sum += v / n;
                }
            }
            SubjectValues {
                subject: name.clone(),
                seed: several_seeds.then_some(cell.seed),
                step: Some(result.candidate.step),
                values: values
                    .into_iter()
                    .map(|v| v.is_finite().then_some(v))
                    .collect(),
            }
        })
        .collect()
}

fn median(mut steps: Vec<usize>) -> Option<f64> {
    steps.sort_unstable();
    let n = steps.len();
    (n > 0).then(|| (steps[(n - 1) / 2] + steps[n / 2]) as f64 / 2.0)
}
