//! Several runs on one page: all rows in one table, then each run's own table.

use crate::table::Table;
use anyhow::{Context, Result, bail};
use minijinja::context;
use serde::Serialize;

use super::data::{Cell, Difference, Metric, ReportData, Rule, TestRow, TestTable};
use super::plain::plain;
use super::{COMMON, CSS, answer, check, embedded_json, environment, facts};

const COMPARE: &str = include_str!("../../page/compare.js");

/// Data of the comparison page's script.
#[derive(Serialize)]
struct Compared<'a> {
    combined: TestTable,
    runs: Vec<Run<'a>>,
}

#[derive(Serialize)]
struct Run<'a> {
    name: &'a str,
    test: Option<&'a TestTable>,
    rules: &'a [Rule],
}

/// A run's row in a table of several runs; unique among all.
pub fn row_name(run: &str, row: &str) -> String {
    format!("{run}: {row}")
}

/// A page that compares several runs, called `names`. `across` holds the differences between their rows, if there are any.
///
/// # Errors
/// As [`render`](super::render); as many names as runs are needed.
pub fn compare(runs: &[ReportData], names: &[String], across: Option<&Table>) -> Result<String> {
    if runs.len() != names.len() {
        bail!("{} names for {} runs", names.len(), runs.len());
    }
    for run in runs {
        check(run).with_context(|| format!("run {:?}", run.name))?;
    }
    let combined = combine(runs, names, across);
    let all_rows = plain(&combined);
    let json = embedded_json(&Compared {
        combined,
        runs: runs
            .iter()
            .map(|run| Run {
                name: &run.name,
                test: run.test.as_ref(),
                rules: &run.rules,
            })
            .collect(),
    })?;
    let heads: Vec<_> = runs
        .iter()
        .map(|run| {
            context! {
                title => &run.title, name => &run.name, created => &run.created,
                description => &run.description, answer => answer::answer(run), facts => facts::facts(run),
                plain => run.test.as_ref().map(plain),
            }
        })
        .collect();
    environment("compare.html", include_str!("../../page/compare.html.j2"))?
        .get_template("compare.html")?
        .render(context! {
            runs => heads,
            plain => all_rows,
            css => CSS,
            json => json,
            scripts => COMMON.iter().chain(&[COMPARE]).collect::<Vec<_>>(),
        })
        .context("rendering the comparison")
}

/// All rows of all runs, one group of rows per run. Two columns are merged only if name and network agree.
/// Differences are those of `across`, where both rows have the metric.
fn combine(runs: &[ReportData], names: &[String], across: Option<&Table>) -> TestTable {
    let mut metrics: Vec<Metric> = Vec::new();
    for metric in runs
        .iter()
        .filter_map(|r| r.test.as_ref())
        .flat_map(|t| &t.metrics)
    {
        if !metrics.iter().any(|m| same(m, metric)) {
            metrics.push(metric.clone());
        }
    }
    let mut rows = Vec::new();
    for (i, run) in runs.iter().enumerate() {
        let Some(test) = &run.test else { continue };
        for row in &test.rows {
            let id = row_name(&names[i], &row.id);
            let cells = metrics.iter().map(|wanted| {
                let own = test.metrics.iter().position(|m| same(m, wanted));
                own.map_or_else(Cell::default, |m| Cell {
                    differences: across.map_or_else(Vec::new, |t| differences(t, &id, wanted)),
                    ..row.cells[m].clone()
                })
            });
            let cells = cells.collect();
            rows.push(TestRow {
                id,
                label: if row.arm.is_empty() {
                    row.label.clone()
                } else {
                    format!("{} · {}", row.arm, row.label)
                },
                arm: names[i].clone(),
                cells,
                subjects: vec![],
                ..row.clone()
            });
        }
    }
    TestTable {
        metrics,
        rows,
        baseline: across
            .and_then(|t| t.baselines.first())
            .cloned()
            .unwrap_or_default(),
        statistics: match across {
            Some(table) => format!("{}.", table.notes.join(". ")),
            None => {
                "No rows of these runs can be compared: no metric is common to all of them.".into()
            }
        },
        ..TestTable::default()
    }
}

/// The differences of a row to all others in a metric.
fn differences(table: &Table, row: &str, metric: &Metric) -> Vec<Difference> {
    let is_it = |m: &crate::table::Metric| m.name == metric.label && m.encoder == metric.encoder;
    let place = table.metrics.iter().position(is_it);
    let found = table.rows.iter().find(|r| r.name == row);
    let (Some(place), Some(found)) = (place, found) else {
        return Vec::new();
    };
    let comparisons = found.cells[place].comparisons.iter();
    comparisons.map(Difference::from).collect()
}

fn same(a: &Metric, b: &Metric) -> bool {
    a.label == b.label && a.encoder == b.encoder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_of_different_networks_stay_apart() {
        let run = |encoder: &str| ReportData {
            title: "t".into(),
            test: Some(TestTable {
                metrics: vec![Metric {
                    label: "CLIP-I".into(),
                    encoder: encoder.into(),
                    ..Metric::default()
                }],
                rows: vec![TestRow {
                    id: "a".into(),
                    cells: vec![Cell {
                        mean: Some(0.5),
                        ..Cell::default()
                    }],
                    ..TestRow::default()
                }],
                ..TestTable::default()
            }),
            ..ReportData::default()
        };
        let names = ["a", "b"].map(str::to_owned);
        let combine = |runs: &[ReportData]| combine(runs, &names, None);
        let apart = combine(&[run("ViT-B/16"), run("ViT-B/32")]);
        assert_eq!(apart.rows[1].id, "b: a");
        assert_eq!(apart.metrics.len(), 2);
        assert_eq!(apart.rows[1].cells[0].mean, None);
        assert_eq!(apart.rows[1].cells[1].mean, Some(0.5));
        assert_eq!(
            combine(&[run("ViT-B/16"), run("ViT-B/16")]).metrics.len(),
            1
        );
    }
}
