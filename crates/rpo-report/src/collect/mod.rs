//! The report of a run, from its plan and its records alone: the test table (text, CSV, JSON), the page, TensorBoard events, which a
//! trainer begins itself ([`CellEvents`]).
//!
//! All results are computed from test pictures; validation scores are shown only as the reason for a choice.

mod across;
mod costs;
mod ended;
mod events;
mod finished;
mod gather;
mod kinds;
mod options;
mod rows;
mod samples;
mod settings;
mod shown;
mod test_table;
mod thumbnails;
mod told;
mod trajectory;
mod unfinished;

use crate::page::{self, ReportData};
use crate::table::Table;
pub use across::{Compared, across};
use anyhow::{Context, Result};
use finished::{AllFinished, Finished};
pub use options::Shown;
use rows::{Columns, Row};
use rpo_experiment::plan::Plan;
use rpo_experiment::run::{Run, RunInfo};
use rpo_files::output;

pub use events::CellEvents;

/// File of the report's data, from which it can be rendered again.
pub const REPORT_DATA: &str = "report.json";

/// The tables beside `table.txt`.
const TABLES: [&str; 6] = [
    "eval.json",
    "table.csv",
    "subjects.csv",
    "kinds.csv",
    "costs.csv",
    "table.tex",
];

/// The data of a run's report, without writing anything; works on unfinished runs as [`collect`] does.
///
/// # Errors
/// A baseline that is no row.
pub fn read(plan: &Plan, info: &RunInfo, run: &Run, shown: &Shown) -> Result<ReportData> {
    let finished = AllFinished::of(plan, run);
    let tested = tested(plan, &finished, shown)?;
    gather::data(plan, info, run, &finished, tested.as_ref())
}

/// The rows and their table; `None` if nothing can be compared yet.
fn tested<'a>(
    plan: &Plan,
    finished: &'a AllFinished<'a>,
    shown: &Shown,
) -> Result<Option<(Vec<Row<'a>>, Columns, Table)>> {
    let compared = finished.compared();
    if compared.is_empty() {
        return Ok(None);
    }
    let rows = rows::rows(plan, &compared);
    let columns = Columns::of(plan, &rows);
    let mut table = rows::table(plan, &columns, &rows, shown)?;
    table.kinds = kinds::kinds(plan, &rows, &columns);
    table.beside = costs::beside(plan, finished);
    let noted = plan
        .experiment
        .arms
        .iter()
        .filter(|arm| !arm.note.is_empty());
    let noted = noted.map(|arm| format!("{}: {}", arm.name, arm.note.trim_end_matches('.')));
    table.notes.extend(noted);
    table.notes.extend(finished.missing.clone());
    Ok(Some((rows, columns, table)))
}

/// Writes `eval.json`, `table.txt`, `table.csv`, `subjects.csv`, `kinds.csv`, `costs.csv`, `table.tex`, `report.html` and the event files; returns
/// the table as text. Works on unfinished runs, also while other processes train: unfinished cells are shown as far as they are,
/// without results; damaged ones are listed.
///
/// # Errors
/// I/O errors, by path; a baseline that is no row.
pub fn collect(plan: &Plan, info: &RunInfo, run: &Run, shown: &Shown) -> Result<String> {
    let finished = AllFinished::of(plan, run);
    let write = |name: &str, text: &str| output::write(&run.path.join(name), text.as_bytes());
    let tested = tested(plan, &finished, shown)?;
    let mut text = match &tested {
        Some((.., table)) => table.to_text(),
        None => finished.missing.iter().map(|m| format!("{m}\n")).collect(),
    };
    match &tested {
        Some((.., table)) => {
            let tables = [
                table.to_json()?,
                table.to_csv()?,
                table.subjects_csv()?,
                table.kinds_csv()?,
                table.costs_csv()?,
                table.to_latex(),
            ];
            for (name, table) in TABLES.iter().zip(&tables) {
                write(name, table)?;
            }
        }
        // Earlier tables would contradict the page.
        None => {
            for name in TABLES {
                let path = run.path.join(name);
                if path.is_file() {
                    std::fs::remove_file(&path).with_context(|| path.display().to_string())?;
                }
            }
        }
    }
    write("table.txt", &text)?;
    let data = gather::data(plan, info, run, &finished, tested.as_ref())?;
    write("report.html", &page::render(&data)?)?;
    output::write_json(&run.path.join(REPORT_DATA), &data)?;
    for Finished { cell, tested, .. } in &finished.cells {
        // A by-product: what stands above is whole without it.
        if let Err(e) = events::complete(run, plan, cell, &tested.records) {
            text += &format!("TensorBoard events of {}: {e:#}\n", cell.id);
            break;
        }
    }
    Ok(text)
}
