//! The test table as words and numbers, for readers of the page without its script.
//!
//! Lines break between a number, its interval and its p only, by no-break spaces elsewhere.

use serde::Serialize;

use super::data::{Cell, TestRow, TestTable};
use super::numbers::{interval, number, signed};

/// The table in the order shown.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Plain {
    /// Heads of the columns.
    metrics: Vec<String>,
    /// Name of the row that the others are compared with; empty if none is.
    baseline: String,
    rows: Vec<PlainRow>,
}

#[derive(Debug, PartialEq, Serialize)]
struct PlainRow {
    name: String,
    cells: Vec<PlainCell>,
}

#[derive(Debug, PartialEq, Serialize)]
struct PlainCell {
    /// The mean with its interval.
    mean: String,
    /// The difference to the baseline with its interval and p; empty where there is none.
    difference: String,
}

/// Writes a table out; the baseline is the table's own, else the first row that others are compared with.
pub(super) fn plain(test: &TestTable) -> Plain {
    let compared = |row: &TestRow| {
        let cells = test.rows.iter().flat_map(|r| &r.cells);
        cells
            .flat_map(|c| &c.differences)
            .any(|d| d.against == row.id)
    };
    let own = test.rows.iter().find(|r| r.id == test.baseline);
    let baseline = own
        .filter(|r| compared(r))
        .or_else(|| test.rows.iter().find(|r| compared(r)));
    let rows = test.rows.iter().map(|row| PlainRow {
        name: name(row),
        cells: row
            .cells
            .iter()
            .map(|c| cell(c, baseline.map_or("", |b| &b.id)))
            .collect(),
    });
    Plain {
        metrics: test.metrics.iter().map(|m| m.label.clone()).collect(),
        baseline: baseline.map_or_else(String::new, name),
        rows: rows.collect(),
    }
}

fn name(row: &TestRow) -> String {
    match row.arm.as_str() {
        "" => row.label.clone(),
        arm => format!("{arm} · {}", row.label),
    }
}

fn cell(cell: &Cell, baseline: &str) -> PlainCell {
    let mean = match (cell.mean, cell.interval) {
        (Some(mean), Some([low, high])) => {
            format!("{} [{},\u{a0}{}]", number(mean), number(low), number(high))
        }
        (Some(mean), None) => number(mean),
        (None, _) => "–".into(),
    };
    let against = cell.differences.iter().find(|d| d.against == baseline);
    let difference = against.map_or_else(String::new, |d| {
        let mut text = signed(d.mean);
        if let Some(i) = d.interval {
            text += &format!(" {}", interval(i).replace(' ', "\u{a0}"));
        }
        match d.p_holm {
            Some(p) if p < 0.001 => text += ", p\u{a0}<\u{a0}0.001",
            Some(p) => text += &format!(", p\u{a0}=\u{a0}{}", number(p)),
            None => {}
        }
        text
    });
    PlainCell { mean, difference }
}

#[cfg(test)]
mod tests {
    use super::super::data::Difference;
    use super::*;

    #[test]
    fn the_baseline_is_the_tables_own_or_the_first_that_rows_are_compared_with() {
        let row = |id: &str, arm: &str, against: &[&str]| TestRow {
            id: id.into(),
            label: id.into(),
            arm: arm.into(),
            cells: vec![Cell {
                mean: Some(0.5),
                interval: Some([0.4, 0.6]),
                differences: against
                    .iter()
                    .map(|other| Difference {
                        against: (*other).into(),
                        mean: -0.25,
                        interval: Some([-0.5, 0.0]),
                        p_holm: Some(0.0004),
                        ..Difference::default()
                    })
                    .collect(),
                ..Cell::default()
            }],
            ..TestRow::default()
        };
        let mut test = TestTable {
            rows: vec![
                row("zero", "", &[]),
                row("a", "arm", &["zero", "last"]),
                row("last", "arm", &["zero"]),
            ],
            ..TestTable::default()
        };
        assert_eq!(plain(&test).baseline, "zero");
        test.baseline = "last".into();
        let told = plain(&test);
        assert_eq!(told.baseline, "arm · last");
        let cell = &told.rows[1].cells[0];
        assert_eq!(cell.mean, "0.500 [0.400,\u{a0}0.600]");
        assert_eq!(
            cell.difference,
            "−0.250 [−0.500,\u{a0}0.000], p\u{a0}<\u{a0}0.001"
        );
        assert_eq!(told.rows[2].cells[0].difference, "");
    }
}
