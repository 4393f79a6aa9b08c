//! A [`Table`] as aligned text, CSV and JSON.

use std::fmt::Write;

use crate::table::Table;
use rpo_stats::{Comparison, Interval};

impl Table {
    /// Aligned text: the means with half the width of their intervals and the paper's std, then one block per
    /// baseline with the differences, then the encoders and the notes.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("{}\n\n", self.title);
        let mut header = vec!["mean ± 95 % (std)".to_owned()];
        header.extend(self.metrics.iter().map(|metric| metric.name.clone()));
        let means = self.rows.iter().map(|row| {
            let mut line = vec![row.arm.clone()];
            line.extend(row.cells.iter().map(|cell| {
                let std = cell
                    .paper_std
                    .map_or_else(|| "-".to_owned(), |std| format!("{std:.3}"));
                format!("{} ({std})", with_half_width(&cell.mean))
            }));
            line
        });
        text += &aligned(std::iter::once(header).chain(means).collect());
        for baseline in self.baselines() {
            let mut lines = vec![vec![format!("minus {baseline}")]];
            lines[0].extend(self.metrics.iter().map(|metric| metric.name.clone()));
            for row in &self.rows {
                let cells: Vec<String> = row
                    .cells
                    .iter()
                    .filter_map(|cell| {
                        cell.comparisons
                            .iter()
                            .find(|c| c.against == baseline)
                            .map(difference)
                    })
                    .collect();
                if !cells.is_empty() {
                    lines.push(std::iter::once(row.arm.clone()).chain(cells).collect());
                }
            }
            text.push('\n');
            text += &aligned(lines);
        }
        text += "\nThe unit is the subject; ± is Student's t at 95 %, std is over subjects and prompts, p is Holm's over the arms.\n";
        for metric in &self.metrics {
            let _ = writeln!(text, "{}: {}", metric.name, metric.encoder);
        }
        for note in self.notes.iter().chain(&self.shared) {
            let _ = writeln!(text, "Note: {note}.");
        }
        text
    }

    /// One line per row, metric and baseline (with empty baseline columns if there is none).
    #[must_use]
    pub fn to_csv(&self) -> String {
        let mut csv = String::from(
            "arm,metric,encoder,subjects,mean,mean_low,mean_high,paper_std,against,difference,difference_low,difference_high,p,p_holm,same_checkpoint,trajectories\n",
        );
        for row in &self.rows {
            for (metric, cell) in self.metrics.iter().zip(&row.cells) {
                let (low, high) = ends(&cell.mean);
                let head = [
                    field(&row.arm),
                    field(&metric.name),
                    field(&metric.encoder),
                    cell.mean.n.to_string(),
                    cell.mean.mean.to_string(),
                    low,
                    high,
                    number(cell.paper_std),
                ]
                .join(",");
                if cell.comparisons.is_empty() {
                    let _ = writeln!(csv, "{head},,,,,,,,");
                }
                for comparison in &cell.comparisons {
                    let (low, high) = ends(&comparison.difference);
                    let same = comparison.same_checkpoint;
                    let tail = [
                        field(&comparison.against),
                        comparison.difference.mean.to_string(),
                        low,
                        high,
                        number(comparison.difference.p),
                        number(comparison.p_holm),
                        same.map_or_else(String::new, |s| s.same.to_string()),
                        same.map_or_else(String::new, |s| s.of.to_string()),
                    ]
                    .join(",");
                    let _ = writeln!(csv, "{head},{tail}");
                }
            }
        }
        csv
    }

    /// The whole table, indented.
    ///
    /// # Errors
    /// Those of serde_json; none are expected, as all values are finite.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }

    fn baselines(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for comparison in self
            .rows
            .iter()
            .filter_map(|row| row.cells.first())
            .flat_map(|cell| &cell.comparisons)
        {
            if !names.contains(&comparison.against.as_str()) {
                names.push(&comparison.against);
            }
        }
        names
    }
}

fn with_half_width(interval: &Interval) -> String {
    match interval.interval {
        Some((low, high)) => format!("{:.3} ± {:.3}", interval.mean, (high - low) / 2.0),
        None => format!("{:.3}", interval.mean),
    }
}

fn difference(comparison: &Comparison) -> String {
    if comparison
        .same_checkpoint
        .is_some_and(|same| same.everywhere())
    {
        return "same".to_owned();
    }
    let d = &comparison.difference;
    let p = match comparison.p_holm {
        Some(p) if p < 0.001 => " p<.001".to_owned(),
        Some(p) => format!(" p={p:.3}"),
        None => String::new(),
    };
    match d.interval {
        Some((low, high)) => format!("{:+.3} [{low:+.3}, {high:+.3}]{p}", d.mean),
        None => format!("{:+.3}", d.mean),
    }
}

fn ends(interval: &Interval) -> (String, String) {
    let (low, high) = interval.interval.unzip();
    (number(low), number(high))
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// A CSV field after RFC 4180.
fn field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// Columns padded to their widest entry, the first left-aligned, the others right-aligned.
fn aligned(lines: Vec<Vec<String>>) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        lines
            .iter()
            .filter_map(|line| line.get(column))
            .map(|text| text.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let mut row = String::new();
        for (column, entry) in line.iter().enumerate() {
            let padding = " ".repeat(widths[column] - entry.chars().count());
            row += &if column == 0 {
                format!("{entry}{padding}")
            } else {
                format!("  {padding}{entry}")
            };
        }
        text += row.trim_end();
        text.push('\n');
    }
    text
}
