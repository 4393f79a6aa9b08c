//! The answer at the head of the page, composed from the test table only.

use serde::Serialize;

use super::data::{Difference, Metric, ReportData, RowKind, TestRow, TestTable};
use super::facts::count;
use super::numbers::{interval, number, signed};

/// The headline sentence, and those that qualify it.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Answer {
    pub(super) lead: String,
    pub(super) more: Vec<String>,
}

/// Composes the answer, which is about the first chosen row of the table.
pub(super) fn answer(data: &ReportData) -> Answer {
    let mut more = Vec::new();
    let lead = match data
        .test
        .as_ref()
        .and_then(|test| Some((test, headline_row(test)?)))
    {
        None => "No subject and seed is finished in every arm yet, so there is no result to state."
            .into(),
        Some((test, row)) => {
            more.extend(against_last(test, row));
            more.extend(other_metrics(test, row));
            against_base(test, row)
        }
    };
    more.extend(stops(data));
    Answer { lead, more }
}

fn headline_row(test: &TestTable) -> Option<&TestRow> {
    test.metrics.get(test.primary)?;
    test.rows
        .iter()
        .find(|r| r.kind == RowKind::Chosen && r.cells[test.primary].mean.is_some())
}

/// The row of that kind in the same arm; the base model belongs to every arm.
fn other_row<'a>(test: &'a TestTable, row: &TestRow, kind: RowKind) -> Option<&'a TestRow> {
    let mut of_kind = test.rows.iter().filter(|r| r.kind == kind);
    of_kind
        .clone()
        .find(|r| r.arm == row.arm)
        .or_else(|| of_kind.find(|_| kind == RowKind::Base))
}

fn difference<'a>(row: &'a TestRow, metric: usize, other: &TestRow) -> Option<&'a Difference> {
    row.cells[metric]
        .differences
        .iter()
        .find(|d| d.against == other.id)
}

fn against_base(test: &TestTable, row: &TestRow) -> String {
    let metric = &test.metrics[test.primary];
    let mean = row.cells[test.primary].mean.unwrap_or(f64::NAN);
    let arm = if row.arm.is_empty() {
        String::new()
    } else {
        format!(" ({})", row.arm)
    };
    let start = format!(
        "The checkpoints that {}{arm} chooses reach {} {} on test prompts",
        row.label,
        metric.label,
        number(mean)
    );
    let Some((base, d)) = other_row(test, row, RowKind::Base)
        .and_then(|base| Some((base, difference(row, test.primary, base)?)))
    else {
        return format!("{start}.");
    };
    let from = base.cells[test.primary]
        .mean
        .map_or(String::new(), |m| format!(" from {}", number(m)));
    match d.interval {
        None => format!(
            "{start},{from} at {}: {}, measured on a single subject, which gives no interval.",
            base.label,
            signed(d.mean)
        ),
        Some(i) if holds_zero(i) => format!(
            "{start},{from} at {}: {} with a 95\u{a0}% interval {} that includes 0, so no change is shown.",
            base.label,
            signed(d.mean),
            interval(i)
        ),
        Some(i) => format!(
            "{start},{from} at {}: {} with a 95\u{a0}% interval {} over {}.",
            base.label,
            signed(d.mean),
            interval(i),
            count(subjects(row), "subject")
        ),
    }
}

/// Number of subjects of a row, whatever the number of seeds.
fn subjects(row: &TestRow) -> usize {
    let names = row.subjects.iter().map(|s| &s.subject);
    names.collect::<std::collections::BTreeSet<_>>().len()
}

fn against_last(test: &TestTable, row: &TestRow) -> Option<String> {
    let last = other_row(test, row, RowKind::Last)?;
    let label = &test.metrics[test.primary].label;
    let d = difference(row, test.primary, last)?;
    Some(match d.interval {
        None => format!(
            "Against the last step, {label} differs by {} on that subject.",
            signed(d.mean)
        ),
        Some(i) if holds_zero(i) => format!(
            "Against the last step, {label} differs by {} {}, an interval that includes 0: the two are not told apart.",
            signed(d.mean),
            interval(i)
        ),
        Some(i) => format!(
            "Against the last step, {label} is {} by {} {}.",
            if d.mean > 0.0 { "higher" } else { "lower" },
            number(d.mean.abs()),
            interval(i)
        ),
    })
}

/// The other metrics against the base model, grouped by what their intervals show.
fn other_metrics(test: &TestTable, row: &TestRow) -> Option<String> {
    let base = other_row(test, row, RowKind::Base)?;
    let mut groups: [(&str, Vec<String>); 3] = [
        ("better in", vec![]),
        ("worse in", vec![]),
        ("not told apart in", vec![]),
    ];
    for (m, metric) in test.metrics.iter().enumerate() {
        if m == test.primary {
            continue;
        }
        let Some((d, i)) = difference(row, m, base).and_then(|d| Some((d, d.interval?))) else {
            continue;
        };
        let group = match (holds_zero(i), better(metric, d.mean)) {
            (true, _) => 2,
            (false, Some(true)) => 0,
            (false, Some(false)) => 1,
            (false, None) => continue,
        };
        groups[group]
            .1
            .push(format!("{} {}", metric.label, signed(d.mean)));
    }
    let said: Vec<_> = groups
        .iter()
        .filter(|g| !g.1.is_empty())
        .map(|(name, list)| format!("{name} {}", list.join(", ")))
        .collect();
    (!said.is_empty()).then(|| {
        format!(
            "By the other measures they are, against {}, {}.",
            base.label,
            said.join("; ")
        )
    })
}

fn better(metric: &Metric, difference: f64) -> Option<bool> {
    metric.higher_is_better.map(|up| (difference > 0.0) == up)
}

/// Number of trajectories that ended before the limit.
fn stops(data: &ReportData) -> Option<String> {
    let ended = || data.trajectories.iter().filter(|t| t.unfinished.is_none());
    let total = ended().count();
    let mut early: Vec<_> = ended()
        .map(|t| t.stopped_step)
        .filter(|&step| step < data.setup.steps)
        .collect();
    early.sort_unstable();
    let median = early.get(early.len() / 2)?;
    Some(format!(
        "{} of {} ended before the limit of {} steps, in the median at step {median}.",
        early.len(),
        count(total, "training"),
        data.setup.steps
    ))
}

fn holds_zero([low, high]: [f64; 2]) -> bool {
    low <= 0.0 && high >= 0.0
}

#[cfg(test)]
mod tests {
    use super::super::data::Cell;
    use super::*;

    fn run(interval: Option<[f64; 2]>) -> ReportData {
        let metric = Metric {
            label: "ViT-I micro".into(),
            higher_is_better: Some(true),
            ..Metric::default()
        };
        let row = |id: &str, kind, mean, differences| TestRow {
            id: id.into(),
            label: id.into(),
            kind,
            cells: vec![Cell {
                mean: Some(mean),
                differences,
                ..Cell::default()
            }],
            ..TestRow::default()
        };
        let to_base = Difference {
            against: "step 0".into(),
            mean: 0.1,
            interval,
            ..Difference::default()
        };
        ReportData {
            test: Some(TestTable {
                metrics: vec![metric],
                rows: vec![
                    row("step 0", RowKind::Base, 0.5, vec![]),
                    row("λ = 0.3", RowKind::Chosen, 0.6, vec![to_base]),
                ],
                ..TestTable::default()
            }),
            ..ReportData::default()
        }
    }

    #[test]
    fn an_interval_with_zero_in_it_claims_nothing() {
        let lead = answer(&run(Some([-0.02, 0.22]))).lead;
        assert!(lead.contains("+0.100 with a 95\u{a0}% interval [−0.020, +0.220] that includes 0, so no change is shown"), "{lead}");
        let lead = answer(&run(Some([0.02, 0.18]))).lead;
        assert!(!lead.contains("includes 0"), "{lead}");
    }

    #[test]
    fn one_subject_gives_no_interval_and_no_table_no_result() {
        assert!(answer(&run(None)).lead.contains("gives no interval"));
        assert!(
            answer(&ReportData::default())
                .lead
                .contains("no result to state")
        );
    }
}
