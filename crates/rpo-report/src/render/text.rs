//! Text that fits 80 columns, for a terminal and for `table.txt`.

use crate::table::{Row, Table};
use rpo_stats::{Comparison, Equivalence, Interval, SameCheckpoint};
use std::fmt::Write;

const WIDTH: usize = 80;
/// Width of the rows' names; longer ones get a line of their own.
const NAME: usize = 30;
/// Width of a mean with half of its interval.
const MEAN: usize = 15;

impl Table {
    /// Aligned text: the means with half the width of their intervals; one block per baseline and metric with the differences; how
    /// they were computed; the notes. No line is longer than 80 characters, unless a single word is.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = wrapped(&self.title, "");
        let metrics: Vec<usize> = (0..self.metrics.len()).collect();
        for some in metrics.chunks((WIDTH - NAME) / MEAN) {
            let heads = some.iter().map(|m| self.metrics[*m].name.clone());
            let of_row = |row: &Row| {
                let cells = some.iter().map(|m| mean(&row.cells[*m].mean));
                line(&row.name, MEAN, cells)
            };
            text += &format!("\n{}", line("mean ± 95 %", MEAN, heads));
            text.extend(self.rows.iter().map(of_row));
        }
        for baseline in &self.baselines {
            for (m, metric) in self.metrics.iter().enumerate() {
                let compared = self.compared(baseline, m);
                // The differences of a single subject are those of the means above.
                if compared.iter().all(|(_, c)| c.difference.n < 2) {
                    continue;
                }
                text += &format!(
                    "\n{}",
                    wrapped(&format!("{} minus {baseline}", metric.name), "")
                );
                text += &block(&compared);
            }
        }
        text += &self.costs();
        text.push('\n');
        text += &wrapped(&self.method(), "");
        for said in self.equal() {
            text += &wrapped(&said, "  ");
        }
        for metric in &self.metrics {
            text += &wrapped(&format!("{}: {}", metric.name, metric.encoder), "  ");
        }
        for note in self.notes.iter().chain(&self.shared) {
            text += &wrapped(&format!("Note: {note}."), "  ");
        }
        text += &self.published();
        text
    }

    /// How figures were computed; the family of Holm's correction by name.
    fn method(&self) -> String {
        let mut said = "The unit is the subject: seeds, prompts and pictures are averaged first. ±x and [low, high] are Student's t at 95 %."
            .to_owned();
        let compared = |baseline: &String| {
            let family = self.family(baseline, 0);
            format!("the {family} rows compared with {baseline}")
        };
        let families: Vec<String> = self.baselines.iter().map(compared).collect();
        let tested = self.rows.iter().flat_map(|row| &row.cells);
        if tested
            .flat_map(|c| &c.comparisons)
            .any(|c| c.difference.n > 1)
        {
            let _ = write!(
                said,
                " p is Student's, perm. that of sign flips, both after Holm over {}, each metric alone; better counts subjects. Other baselines: `report RUN --baseline ROW`.",
                families.join(", and over ")
            );
        }
        said
    }

    /// The rows shown to be equal to a baseline.
    fn equal(&self) -> Vec<String> {
        let mut said = Vec::new();
        for baseline in &self.baselines {
            for (m, metric) in self.metrics.iter().enumerate() {
                let equal: Vec<&str> = self
                    .compared(baseline, m)
                    .iter()
                    .filter(|(_, c)| !same(c) && c.equivalence.is_some_and(Equivalence::holds))
                    .map(|(row, _)| row.name.as_str())
                    .collect();
                if !equal.is_empty() {
                    said.push(format!(
                        "Equal to {baseline} within ± {} in {} (two one-sided tests at 5 %, not corrected): {}.",
                        self.margin,
                        metric.name,
                        equal.join(", ")
                    ));
                }
            }
        }
        said
    }
}

/// The differences of one metric to one baseline.
fn block(compared: &[(&Row, &Comparison)]) -> String {
    let widths = [8, 19, 8, 8, 7];
    let cells = |values: [String; 5]| {
        let padded = values.into_iter().zip(widths).map(|(v, w)| right(&v, w));
        padded.collect::<String>()
    };
    let heads = ["diff.", "95 %", "p", "perm.", "better"].map(str::to_owned);
    let mut text = line("", 0, [cells(heads)].into_iter());
    for (row, c) in compared {
        let d = &c.difference;
        let values = match same(c) {
            true => ["same", "", "", "", ""].map(str::to_owned),
            false => [
                format!("{:+.3}", d.mean),
                d.interval.map_or_else(String::new, |(low, high)| {
                    format!("[{low:+.3}, {high:+.3}]")
                }),
                p(c.p_holm),
                p(c.p_permutation_holm),
                c.improved
                    .map_or_else(String::new, |better| format!("{better}/{}", d.n)),
            ],
        };
        text += &line(&row.name, 0, [cells(values)].into_iter());
    }
    text
}

/// Costs and published rows.
impl Table {
    /// What each arm costs for one subject.
    fn costs(&self) -> String {
        let costs = &self.beside.costs;
        if costs.len() < 2 {
            return String::new();
        }
        // Without the seconds of `costs.csv`: the same results have the same text.
        let widths = [8, 10, 10, 10, 10];
        let cells = |values: [String; 5]| {
            let padded = values.into_iter().zip(widths).map(|(v, w)| right(&v, w));
            [padded.collect::<String>()].into_iter()
        };
        let heads = ["steps", "pictures", "forwards", "params", "file"];
        let heads = line("cost of one subject", 0, cells(heads.map(str::to_owned)));
        let mut text = format!("\n{heads}");
        for cost in costs {
            let values = [
                format!("{:.0}", cost.steps),
                cost.pictures.to_string(),
                format!("{:.0}", cost.forwards),
                cost.parameters
                    .map_or_else(String::new, |n| short(n as f64)),
                cost.bytes
                    .map_or_else(String::new, |n| format!("{}B", short(n as f64))),
            ];
            text += &line(&cost.arm, 0, cells(values));
        }
        text
    }

    /// Published rows, apart from the results.
    fn published(&self) -> String {
        let rows = &self.beside.published;
        if rows.is_empty() {
            return String::new();
        }
        let heads = ["DINO", "CLIP-I", "CLIP-T", "iterations"].map(str::to_owned);
        let heads = line("published", 11, heads.into_iter());
        let said =
            "Published: other models, pictures and encoders, so compared with nothing above.";
        let mut text = format!("\n{}{heads}", wrapped(said, ""));
        let figure = |value: Option<f64>| value.map_or_else(String::new, |v| format!("{v:.3}"));
        for row in rows {
            let name = match row.backbone.as_str() {
                "" => row.name.clone(),
                backbone => format!("{} ({backbone})", row.name),
            };
            let iterations = row.iterations.map_or_else(String::new, |n| n.to_string());
            let values = [
                figure(row.dino),
                figure(row.clip_i),
                figure(row.clip_t),
                iterations,
            ];
            text += &line(&name, 11, values.into_iter());
        }
        for row in rows {
            text += &wrapped(&format!("{}: {}", row.name, row.source), "  ");
        }
        text
    }
}

/// A count in at most six characters: `128`, `163.8k`, `6.1M`.
fn short(n: f64) -> String {
    match n {
        n if n < 10_000.0 => format!("{n:.0}"),
        n if n < 1e6 => format!("{:.1}k", n / 1e3),
        n if n < 1e9 => format!("{:.1}M", n / 1e6),
        n => format!("{:.1}G", n / 1e9),
    }
}

fn same(comparison: &Comparison) -> bool {
    let same = comparison.same_checkpoint;
    same.is_some_and(SameCheckpoint::everywhere) && comparison.difference.mean == 0.0
}

/// A name and cells of `width`; a name that is too long stands alone.
fn line(name: &str, width: usize, cells: impl Iterator<Item = String>) -> String {
    let cells: String = cells.map(|cell| right(&cell, width)).collect();
    let mut text = match name.chars().count() > NAME {
        true => format!("{}{}{cells}", wrapped(name, "  "), " ".repeat(NAME)),
        false => format!("{}{cells}", left(name, NAME)),
    };
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn left(text: &str, width: usize) -> String {
    format!(
        "{text}{}",
        " ".repeat(width.saturating_sub(text.chars().count()))
    )
}

fn right(text: &str, width: usize) -> String {
    format!(
        "{}{text}",
        " ".repeat(width.saturating_sub(text.chars().count()))
    )
}

fn mean(interval: &Interval) -> String {
    match interval.interval {
        Some((low, high)) => format!("{:.3} ±{:.3}", interval.mean, (high - low) / 2.0),
        None => format!("{:.3}", interval.mean),
    }
}

fn p(value: Option<f64>) -> String {
    match value {
        None => String::new(),
        Some(p) if p < 0.001 => "<0.001".to_owned(),
        Some(p) => format!("{p:.3}"),
    }
}

/// Lines of at most 80 characters, broken at spaces; all but the first begin with `indent`.
fn wrapped(text: &str, indent: &str) -> String {
    let mut lines = String::new();
    let mut length = 0;
    for word in text.split_whitespace() {
        let n = word.chars().count();
        if length > 0 && length + 1 + n > WIDTH {
            lines += &format!("\n{indent}");
            length = indent.len();
        } else if length > 0 {
            lines.push(' ');
            length += 1;
        }
        lines += word;
        length += n;
    }
    lines.push('\n');
    lines
}
