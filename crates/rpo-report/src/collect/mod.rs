//! The report of a run, from its plan and its records alone: the test table (text, CSV, JSON), the page, TensorBoard events.
//!
//! All results are computed from test pictures; validation scores are shown only as the reason for a choice.

mod ended;
mod events;
mod finished;
mod gather;
mod kinds;
mod rows;
mod samples;
mod settings;
mod test_table;
mod thumbnails;
mod trajectory;

use crate::page;
use anyhow::{Context, Result};
use finished::AllFinished;
use rpo_experiment::plan::Plan;
use rpo_experiment::run::{Run, RunInfo};
use rpo_files::output;

/// File of the report's data, from which it can be rendered again.
pub const REPORT_DATA: &str = "report.json";

/// Writes `eval.json`, `table.txt`, `table.csv`, `report.html` and the event files; returns the table as text. Works on unfinished
/// runs: unfinished or damaged cells are left out and listed.
///
/// # Errors
/// I/O errors, by path.
pub fn collect(plan: &Plan, info: &RunInfo, run: &Run) -> Result<String> {
    let finished = AllFinished::of(plan, run);
    let write = |name: &str, text: &str| output::write(&run.path.join(name), text.as_bytes());
    let mut text = String::new();
    let mut tested = None;
    let compared = finished.compared();
    if !compared.is_empty() {
        let rows = rows::rows(plan, &compared);
        let columns = rows::Columns::of(plan, &rows);
        let mut table = rows::table(plan, &columns, &rows)?;
        table.notes.extend(finished.missing.clone());
        text = table.to_text();
        write("eval.json", &table.to_json()?)?;
        write("table.csv", &table.to_csv())?;
        write("table.txt", &text)?;
        tested = Some((rows, columns, table));
    } else {
        for missing in &finished.missing {
            text += &format!("{missing}\n");
        }
        // Earlier tables would contradict the page.
        write("table.txt", &text)?;
        for name in ["eval.json", "table.csv"] {
            let path = run.path.join(name);
            if path.is_file() {
                std::fs::remove_file(&path).with_context(|| path.display().to_string())?;
            }
        }
    }
    let data = gather::data(plan, info, run, &finished, tested.as_ref())?;
    write("report.html", &page::render(&data)?)?;
    output::write_json(&run.path.join(REPORT_DATA), &data)?;
    events::write(run, &finished.cells)?;
    Ok(text)
}
