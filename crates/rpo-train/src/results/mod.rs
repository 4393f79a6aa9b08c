//! What a finished run says: the test table (text, CSV, JSON), the report, TensorBoard events.
//!
//! Every figure here is computed from test pictures; validation scores are shown as what they are, the reason of a choice.

mod events;
mod gather;
mod rows;

use crate::files;
use crate::run_folder::RunFolder;
use crate::runner::setup::Setup;
use anyhow::Result;
use rpo_experiment::plan::Cell;
use rpo_report::page;

/// The report's data, kept so that it can be rendered again.
pub const REPORT_DATA: &str = "report.json";

/// Writes `eval.json`, `table.txt`, `table.csv`, `report.html` and the event files; returns the table as text.
///
/// # Errors
/// A result that is missing or damaged, by name; I/O errors.
pub fn write(setup: &Setup, folder: &RunFolder, cells: &[Cell]) -> Result<String> {
    let rows = rows::rows(setup, folder, cells)?;
    let table = rows::table(setup, &rows)?;
    let text = table.to_text();
    files::write(&folder.path.join("eval.json"), table.to_json()?.as_bytes())?;
    files::write(&folder.path.join("table.csv"), table.to_csv().as_bytes())?;
    files::write(&folder.path.join("table.txt"), text.as_bytes())?;
    let data = gather::data(setup, folder, cells, &rows, &table)?;
    files::write(
        &folder.path.join("report.html"),
        page::render(&data)?.as_bytes(),
    )?;
    files::write_json(&folder.path.join(REPORT_DATA), &data)?;
    events::write(folder, cells)?;
    Ok(text)
}
