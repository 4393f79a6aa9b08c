//! CSV files: one line per row and metric; per row, subject and metric; per kind of prompt, row and metric.

use crate::table::Table;
use anyhow::Result;
use csv::Writer;
use rpo_stats::Interval;

/// Columns of `table.csv`.
const TABLE: [&str; 25] = [
    "arm",
    "rule",
    "metric",
    "encoder",
    "higher_is_better",
    "subjects",
    "mean",
    "mean_low",
    "mean_high",
    "paper_std",
    "against",
    "paired_subjects",
    "difference",
    "difference_low",
    "difference_high",
    "p",
    "p_holm",
    "p_permutation",
    "p_permutation_holm",
    "improved",
    "worst_tenth",
    "margin",
    "p_equivalence",
    "same_checkpoint",
    "trajectories",
];

/// Columns of `costs.csv`.
const COSTS: [&str; 10] = [
    "arm",
    "backbone",
    "trains",
    "iterations",
    "steps",
    "pictures",
    "forwards",
    "seconds",
    "parameters",
    "bytes",
];

impl Table {
    /// One line per arm: what it costs for one subject.
    ///
    /// # Errors
    /// None are expected.
    pub fn costs_csv(&self) -> Result<String> {
        let mut csv = Writer::from_writer(Vec::new());
        csv.write_record(COSTS)?;
        for cost in &self.beside.costs {
            csv.write_record([
                cost.arm.clone(),
                cost.backbone.clone(),
                cost.trains.clone(),
                cost.iterations.to_string(),
                cost.steps.to_string(),
                cost.pictures.to_string(),
                cost.forwards.to_string(),
                text(cost.seconds),
                text(cost.parameters),
                text(cost.bytes),
            ])?;
        }
        Ok(String::from_utf8(csv.into_inner()?)?)
    }

    /// One line per (arm, rule, metric), compared with the baseline; empty where there is nothing to compare.
    ///
    /// # Errors
    /// None are expected.
    pub fn to_csv(&self) -> Result<String> {
        let mut csv = Writer::from_writer(Vec::new());
        csv.write_record(TABLE)?;
        let baseline = self.baselines.first().map_or("", String::as_str);
        for row in &self.rows {
            for (metric, cell) in self.metrics.iter().zip(&row.cells) {
                let (low, high) = ends(&cell.mean);
                let mut record = vec![
                    row.arm.clone(),
                    row.rule.clone(),
                    metric.name.clone(),
                    metric.encoder.clone(),
                    text(metric.higher_is_better),
                    cell.mean.n.to_string(),
                    cell.mean.mean.to_string(),
                    low,
                    high,
                    text(cell.paper_std),
                ];
                if let Some(c) = cell.against(baseline) {
                    let (low, high) = ends(&c.difference);
                    record.extend([
                        c.against.clone(),
                        c.difference.n.to_string(),
                        c.difference.mean.to_string(),
                        low,
                        high,
                        text(c.difference.p),
                        text(c.p_holm),
                        text(c.p_permutation),
                        text(c.p_permutation_holm),
                        text(c.improved),
                        text(c.worst_tenth),
                        text(c.equivalence.map(|e| e.margin)),
                        text(c.equivalence.map(|e| e.p)),
                        text(c.same_checkpoint.map(|s| s.same)),
                        text(c.same_checkpoint.map(|s| s.of)),
                    ]);
                }
                record.resize(TABLE.len(), String::new());
                csv.write_record(record)?;
            }
        }
        finished(csv)
    }

    /// One line per (arm, rule, subject, seed, metric): the mean over its test pictures.
    ///
    /// # Errors
    /// None are expected.
    pub fn subjects_csv(&self) -> Result<String> {
        let mut csv = Writer::from_writer(Vec::new());
        csv.write_record([
            "arm",
            "rule",
            "subject",
            "seed",
            "checkpoint",
            "metric",
            "encoder",
            "value",
        ])?;
        for of_subject in &self.subjects {
            let row = &self.rows[of_subject.row];
            for (metric, value) in self.metrics.iter().zip(&of_subject.values) {
                csv.write_record([
                    &row.arm,
                    &row.rule,
                    &of_subject.subject,
                    &of_subject.pair,
                    &of_subject.checkpoint,
                    &metric.name,
                    &metric.encoder,
                    &text(*value),
                ])?;
            }
        }
        finished(csv)
    }
}

impl Table {
    /// One line per (kind of prompt, arm, rule, metric): the mean over subjects of the prompts of that kind.
    ///
    /// # Errors
    /// None are expected.
    pub fn kinds_csv(&self) -> Result<String> {
        let mut csv = Writer::from_writer(Vec::new());
        csv.write_record([
            "kind", "prompts", "arm", "rule", "metric", "encoder", "mean",
        ])?;
        for kind in &self.kinds {
            for (row, means) in self.rows.iter().zip(&kind.means) {
                for (metric, mean) in self.metrics.iter().zip(means) {
                    csv.write_record([
                        &kind.kind,
                        &kind.prompts.to_string(),
                        &row.arm,
                        &row.rule,
                        &metric.name,
                        &metric.encoder,
                        &text(*mean),
                    ])?;
                }
            }
        }
        finished(csv)
    }
}

fn finished(csv: Writer<Vec<u8>>) -> Result<String> {
    let bytes = csv.into_inner().map_err(|e| anyhow::anyhow!("{e}"))?;
    Ok(String::from_utf8(bytes)?)
}

fn ends(interval: &Interval) -> (String, String) {
    let (low, high) = interval.interval.unzip();
    (text(low), text(high))
}

fn text(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}
