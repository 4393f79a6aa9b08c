//! `rpo-train report RUN…`: the report of a run, finished or not, without its model; or a comparison of several.

use super::given;
use crate::files;
use anyhow::Result;
use rpo_experiment::run::Run;
use rpo_files::failure::OrBadInput;
use rpo_files::{destination, say};
use rpo_report::collect::{REPORT_DATA, collect};
use rpo_report::page::{self, ReportData};
use std::path::{Path, PathBuf};

/// One run: writes its tables and page from its records; several: writes a comparison to `out`.
pub(super) fn report(runs: &[PathBuf], out: &Path) -> Result<()> {
    if runs.len() > 1 {
        destination::replaceable("--out", out, [], |start| {
            destination::holds(start, "runs compared · RPO</title>")
        })?;
    }
    let mut data = Vec::with_capacity(runs.len());
    for path in runs {
        given::want_run(path)?;
        let run = Run { path: path.clone() };
        // Runs of earlier versions have no plan: their final report data is rendered again.
        if run.plan_path().is_file() {
            let info = run.info().or_bad_input("run folder")?;
            let told = collect(&run.plan().or_bad_input("run folder")?, &info, &run)?;
            if runs.len() == 1 {
                say!("{told}");
            }
        }
        let report: ReportData = files::read_json(&path.join(REPORT_DATA)).or_bad_input(
            "this is no run, or it has not begun; give the folder that `rpo-train FILE` made",
        )?;
        data.push(report);
    }
    let (path, html) = match data.as_slice() {
        [one] => (runs[0].join("report.html"), page::render(one)?),
        many => (out.to_path_buf(), page::compare(many)?),
    };
    files::write(&path, html.as_bytes())?;
    say!("report {}", path.display());
    Ok(())
}
