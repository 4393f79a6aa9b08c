//! `rpo-train status RUN`: how the cells of a run stand, from its files and Slurm's queue.

use super::given;
use crate::life::now;
use crate::slurm::commands;
use crate::status::{self, CellStatus, Status};
use anyhow::Result;
use clap::Args;
use rpo_experiment::plan::Plan;
use rpo_experiment::run::{Ended, Run, duration};
use rpo_files::failure::OrBadInput;
use rpo_files::{console, say};
use std::collections::BTreeSet;
use std::io::{IsTerminal, stdout};
use std::path::PathBuf;
use std::time::Duration;

/// Cells of one kind that the text names; `--json` names all.
const MOST: usize = 40;

#[derive(Args)]
pub(super) struct StatusArgs {
    /// Run folder
    run: PathBuf,
    /// Print JSON with every cell
    #[arg(long)]
    json: bool,
    /// Tell again every so many seconds (5), until no cell is left to run
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "5", require_equals = true, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    watch: Option<u32>,
}

/// Prints how it stands, once or again and again.
pub(super) fn status(args: &StatusArgs) -> Result<()> {
    given::want_run(&args.run)?;
    let run = Run {
        path: args.run.clone(),
    };
    run.info().or_bad_input("run folder")?;
    let plan = run.plan().or_bad_input("run folder")?;
    let mut finished = BTreeSet::new();
    loop {
        let status = status::of(&run, &plan, queued(&run), now(), &mut finished);
        if args.json {
            console::json(&status)?;
        } else {
            if args.watch.is_some() && stdout().is_terminal() {
                say!("\x1b[H\x1b[2J");
            }
            say!("{}", text(&status, &plan));
        }
        let Some(seconds) = args.watch else {
            return Ok(());
        };
        if status.running == 0 && (status.waiting == 0 || status.queued == Some(0)) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_secs(seconds.into()));
    }
}

/// Elements that Slurm has of this run, if there is a Slurm.
fn queued(run: &Run) -> Option<usize> {
    let path = std::fs::canonicalize(&run.path).ok()?;
    commands::elements(&path).ok().map(|e| e.len())
}

fn text(status: &Status, plan: &Plan) -> String {
    let mut text = format!(
        "{}: {} cells: {} finished, {} running, {} failed, {} waiting",
        status.run.display(),
        plan.cells.len(),
        status.finished,
        status.running,
        status.failed,
        status.waiting
    );
    if let Some(queued) = status.queued {
        text += &format!(" · {queued} queued or running in Slurm");
    }
    if let Some(hours) = status.hours_left.filter(|h| *h > 0.0) {
        let how = match status.running {
            0 => "one cell at a time",
            _ => "at this rate",
        };
        text += &format!(" · at most {} left, {how}", duration(3600.0 * hours));
    }
    let of = |state: &str| -> Vec<&CellStatus> {
        status.cells.iter().filter(|c| c.state == state).collect()
    };
    rows(&mut text, "running", &of("running"), |cell| {
        let doing = cell.life.as_ref().map_or("", |l| &l.doing);
        let doing = if doing.is_empty() { "starts" } else { doing };
        let ago = cell
            .seen_seconds_ago
            .map(|s| format!(", {} ago", duration(s as f64)));
        format!("{doing}{}{}", ago.unwrap_or_default(), place(cell))
    });
    rows(&mut text, "failed", &of("failed"), failed);
    let begun: Vec<&CellStatus> = of("waiting")
        .into_iter()
        .filter(|c| c.life.is_some())
        .collect();
    rows(&mut text, "waiting, begun", &begun, |cell| {
        let life = cell.life.clone().unwrap_or_default();
        let how = match life.ended {
            Some(Ended::Interrupted) => "interrupted",
            _ => "ended without a word",
        };
        format!("{how} at {}{}", life.doing, place(cell))
    });
    text
}

fn rows(
    text: &mut String,
    title: &str,
    cells: &[&CellStatus],
    row: impl Fn(&CellStatus) -> String,
) {
    if cells.is_empty() {
        return;
    }
    *text += &format!("\n{title}:");
    for cell in cells.iter().take(MOST) {
        *text += &format!("\n  {:>4}  {}  {}", cell.index, cell.id, row(cell));
    }
    if cells.len() > MOST {
        *text += &format!("\n        and {} more; --json has all", cells.len() - MOST);
    }
}

fn failed(cell: &CellStatus) -> String {
    let message = cell
        .message
        .as_deref()
        .unwrap_or_default()
        .replace('\n', "\n        ");
    let life = cell.life.as_ref();
    let times = match life.and_then(|l| l.failure.as_ref()) {
        Some(failure) if failure.times > 1 => format!("{} times: ", failure.times),
        _ => String::new(),
    };
    let given_up = if cell.given_up {
        "\n        not tried again unless asked (--again)"
    } else {
        ""
    };
    let log = life.and_then(|l| l.log.as_ref());
    let log = log.map_or_else(String::new, |l| format!("\n        log: {}", l.display()));
    format!("{times}{message}{given_up}{log}{}", place(cell))
}

/// Where it runs or ran.
fn place(cell: &CellStatus) -> String {
    let Some(life) = cell.life.as_ref().filter(|l| !l.host.is_empty()) else {
        return String::new();
    };
    let (host, process) = (&life.host, life.process);
    let job = life
        .job
        .as_ref()
        .map_or_else(String::new, |j| format!(", job {j}"));
    let gpus = life
        .gpus
        .as_ref()
        .map_or_else(String::new, |g| format!(", GPU {g}"));
    format!("  ({host} process {process}{job}{gpus})")
}
