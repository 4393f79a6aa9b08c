//! A LaTeX table for a paper, with the package booktabs.

use crate::table::Table;
use rpo_stats::Interval;
use std::fmt::Write;

impl Table {
    /// Means with half the width of their intervals, a column per metric. Bold: the best mean of a metric; a star: different from
    /// the baseline at 5 % by permutation after Holm.
    #[must_use]
    pub fn to_latex(&self) -> String {
        let mut text =
            String::from("% Needs \\usepackage{booktabs}.\n\\begin{table}\n  \\centering\n");
        let _ = writeln!(text, "  \\caption{{{}}}", self.caption());
        let _ = writeln!(
            text,
            "  \\begin{{tabular}}{{l{}}}",
            "r".repeat(self.metrics.len())
        );
        text += "    \\toprule\n    ";
        for metric in &self.metrics {
            let arrow = match metric.higher_is_better {
                Some(true) => " $\\uparrow$",
                Some(false) => " $\\downarrow$",
                None => "",
            };
            let _ = write!(text, " & {}{arrow}", escaped(&metric.name));
        }
        text += " \\\\\n    \\midrule\n";
        let baseline = self.baselines.first().map_or("", String::as_str);
        for row in &self.rows {
            let _ = write!(text, "    {}", escaped(&row.name));
            for (m, cell) in row.cells.iter().enumerate() {
                let star = cell.against(baseline).and_then(|c| c.p_permutation_holm);
                let star = if star.is_some_and(|p| p < 0.05) {
                    "^{*}"
                } else {
                    ""
                };
                let value = format!("{:.3}", cell.mean.mean);
                let value = match self.is_best(m, &cell.mean) {
                    true => format!("\\mathbf{{{value}}}"),
                    false => value,
                };
                let half = cell.mean.interval.map(|(low, high)| (high - low) / 2.0);
                let half = half.map_or_else(String::new, |half| format!(" \\pm {half:.3}"));
                let _ = write!(text, " & ${value}{star}{half}$");
            }
            text += " \\\\\n";
        }
        text += "    \\bottomrule\n  \\end{tabular}\n\\end{table}\n";
        text
    }

    fn caption(&self) -> String {
        let mut caption = format!(
            "{}. Means over subjects $\\pm$ half of Student's 95\\,\\% interval; best in bold",
            escaped(&self.title)
        );
        if let Some(baseline) = self.baselines.first() {
            let _ = write!(
                caption,
                "; $^{{*}}$ differs from {} at 5\\,\\% (sign-flip permutation, Holm over {} rows)",
                escaped(baseline),
                self.family(baseline, 0)
            );
        }
        let encoders = self.metrics.iter();
        let encoders: Vec<String> = encoders
            .map(|m| format!("{}: {}", escaped(&m.name), escaped(&m.encoder)))
            .collect();
        caption + ". " + &encoders.join("; ") + "."
    }

    /// Whether it is the best mean, as printed.
    fn is_best(&self, metric: usize, mean: &Interval) -> bool {
        let Some(up) = self.metrics[metric].higher_is_better else {
            return false;
        };
        let sign = if up { 1.0 } else { -1.0 };
        let shown = |v: f64| (sign * 1000.0 * v).round();
        let all = self
            .rows
            .iter()
            .map(|row| shown(row.cells[metric].mean.mean));
        shown(mean.mean) >= all.fold(f64::NEG_INFINITY, f64::max)
    }
}

/// Text without commands.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => escaped += "\\textbackslash{}",
            '~' => escaped += "\\textasciitilde{}",
            '^' => escaped += "\\textasciicircum{}",
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => escaped.extend(['\\', c]),
            // At the start of a row they would belong to the line break before it.
            '[' | ']' | '*' => escaped.extend(['{', c, '}']),
            c if c.is_control() => escaped.push(' '),
            '·' => escaped += "$\\cdot$",
            'λ' => escaped += "$\\lambda$",
            '±' => escaped += "$\\pm$",
            '×' => escaped += "$\\times$",
            c => escaped.push(c),
        }
    }
    escaped
}
