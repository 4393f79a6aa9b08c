//! `rpo-train report RUN…`: renders a finished run again, or compares several.

use super::output;
use crate::{files, results};
use anyhow::Result;
use rpo_files::failure::OrBadInput;
use rpo_report::page::{self, ReportData};
use std::path::{Path, PathBuf};

/// One run: its report.html; several: a comparison at `out`.
pub(super) fn report(runs: &[PathBuf], out: &Path) -> Result<()> {
    if runs.len() > 1 {
        output::refuse_foreign("--out", out, [], |start| {
            output::holds(start, "runs compared · RPO</title>")
        })?;
    }
    let data: Vec<ReportData> = runs
        .iter()
        .map(|run| {
            files::read_json(&run.join(results::REPORT_DATA))
                .or_bad_input("the run has no results yet; run its experiment to the end")
        })
        .collect::<Result<_>>()?;
    let (path, html) = match data.as_slice() {
        [one] => (runs[0].join("report.html"), page::render(one)?),
        many => (out.to_path_buf(), page::compare(many)?),
    };
    files::write(&path, html.as_bytes())?;
    println!("report {}", path.display());
    Ok(())
}
