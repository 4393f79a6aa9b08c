//! The report of a run, from its plan and its records alone: the test table (text, CSV, JSON), the page, TensorBoard events, which a
//! trainer begins itself ([`CellEvents`]).
//!
//! All results are computed from test pictures; validation scores are shown only as the reason for a choice.

mod across;
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

use crate::page;
pub use across::{Compared, across};
use anyhow::{Context, Result};
use finished::{AllFinished, Finished};
pub use options::Shown;
use rpo_experiment::plan::Plan;
use rpo_experiment::run::{Run, RunInfo};
use rpo_files::output;

pub use events::CellEvents;

/// File of the report's data, from which it can be rendered again.
pub const REPORT_DATA: &str = "report.json";

/// The tables beside `table.txt`.
const TABLES: [&str; 5] = [
    "eval.json",
    "table.csv",
    "subjects.csv",
    "kinds.csv",
    "table.tex",
];

/// Writes `eval.json`, `table.txt`, `table.csv`, `subjects.csv`, `kinds.csv`, `table.tex`, `report.html` and the event files; returns the table as
/// text. Works on unfinished runs, also while other processes train: unfinished cells are shown as far as they are, without results;
/// damaged ones are listed.
///
/// # Errors
/// I/O errors, by path; a baseline that is no row.
pub fn collect(plan: &Plan, info: &RunInfo, run: &Run, shown: &Shown) -> Result<String> {
    let finished = AllFinished::of(plan, run);
    let write = |name: &str, text: &str| output::write(&run.path.join(name), text.as_bytes());
    let mut text = String::new();
    let mut tested = None;
    let compared = finished.compared();
    if !compared.is_empty() {
        let rows = rows::rows(plan, &compared);
        let columns = rows::Columns::of(plan, &rows);
        let mut table = rows::table(plan, &columns, &rows, shown)?;
        table.kinds = kinds::kinds(plan, &rows, &columns);
        table.notes.extend(finished.missing.clone());
        text = table.to_text();
        let tables = [
            table.to_json()?,
            table.to_csv()?,
            table.subjects_csv()?,
            table.kinds_csv()?,
            table.to_latex(),
        ];
        for (name, table) in TABLES.iter().zip(&tables) {
            write(name, table)?;
        }
        write("table.txt", &text)?;
        tested = Some((rows, columns, table));
    } else {
        for missing in &finished.missing {
            text += &format!("{missing}\n");
        }
        // Earlier tables would contradict the page.
        write("table.txt", &text)?;
        for name in TABLES {
            let path = run.path.join(name);
            if path.is_file() {
                std::fs::remove_file(&path).with_context(|| path.display().to_string())?;
            }
        }
    }
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
