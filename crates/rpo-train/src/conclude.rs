//! The end of a run: tables, page, links to what was chosen, and what to do next.

use crate::best::{self, Best};
use crate::runner::Failed;
use anyhow::Result;
use rpo_experiment::plan::Plan;
use rpo_experiment::run::{Run, duration};
use rpo_files::failure::BadInput;
use rpo_files::{console, mention, say, tell};
use rpo_report::collect::{Shown, collect};
use serde::Serialize;
use std::path::PathBuf;

/// What `run --json` prints.
#[derive(Serialize)]
struct Ended<'a> {
    run: PathBuf,
    report: PathBuf,
    cells: usize,
    finished: usize,
    best: &'a [Best],
    failed: Vec<(&'a str, String)>,
    seconds: f64,
}

/// Writes the run's tables and page from what is finished and links what was chosen; prints the tables, the choices and the next
/// command, or with `json` all of it as JSON.
///
/// # Errors
/// The failures, if there are any; a damaged record; I/O errors.
pub fn conclude(plan: &Plan, run: &Run, mut failed: Vec<Failed>, json: bool) -> Result<()> {
    let collected = run
        .info()
        .and_then(|info| collect(plan, &info, run, &Shown::default()));
    match &collected {
        Ok(_) if json => {}
        Ok(table) => mention!("{table}"),
        Err(e) => tell!("the tables and the page could not be written: {e:#}"),
    }
    let best = best::link(plan, run);
    let chosen = best.as_deref().unwrap_or_default();
    let t = run.times(&plan.cells);
    let report = run.path.join("report.html");
    if json {
        console::json(&Ended {
            run: run.path.clone(),
            report: report.clone(),
            cells: plan.cells.len(),
            finished: chosen.len(),
            best: chosen,
            failed: failed
                .iter()
                .map(|f| (f.cell.as_str(), format!("{:#}", f.error)))
                .collect(),
            seconds: t.total,
        })?;
    } else {
        mention!(
            "time of all cells {} · negatives {} · training {} · validation {} ({:.0} %) · test {}",
            duration(t.total),
            duration(t.negatives),
            duration(t.training),
            duration(t.validation),
            100.0 * t.validation_share(),
            duration(t.test)
        );
        for line in best::lines(run, chosen) {
            say!("{line}");
        }
        say!("report   {}", report.display());
    }
    let count = failed.len();
    // Other failures take precedence over bad input for the exit code.
    let bad = |f: &Failed| f.error.chain().any(|e| e.is::<BadInput>());
    failed.sort_by_key(bad);
    let mut failed = failed.into_iter();
    let Some(first) = failed.next() else {
        collected?;
        return best.map(drop);
    };
    let others: String = failed
        .map(|f| format!("{}: {:#}\n", f.cell, f.error))
        .collect();
    Err(first.error.context(format!(
        "{count} of {} cells failed; the same command tries them again\n{others}{}",
        plan.cells.len(),
        first.cell
    )))
}
