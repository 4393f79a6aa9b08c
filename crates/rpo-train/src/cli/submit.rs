//! `rpo-train submit FILE -- SBATCH ARGUMENTS`: the cells without a result as elements of Slurm's arrays, then the report.

use super::experiment_args::ExperimentArgs;
use super::prepare;
use crate::files;
use crate::run_folder::{self, RunFolder, Where};
use crate::slurm::array::{Chunk, chunks, list};
use crate::slurm::commands::{self, Element};
use crate::slurm::options::Options;
use crate::slurm::script::Scripts;
use crate::standing::Standing;
use anyhow::{Context, Result};
use clap::Args;
use rpo_experiment::plan::Plan;
use rpo_experiment::run::Run;
use rpo_files::failure::BadInput;
use rpo_files::{AtPath, say, tell};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[derive(Args)]
pub(super) struct SubmitArgs {
    #[command(flatten)]
    file: ExperimentArgs,
    /// Run folder; default: <output>/<name>-<hash of settings and inputs>
    #[arg(long)]
    out: Option<PathBuf>,
    /// Cells that run at a time, at most
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    jobs: Option<u32>,
    /// Also send cells that have failed three times with the same message
    #[arg(long)]
    again: bool,
    /// Print the scripts and commands, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Options of sbatch for every cell, after those of slurm.toml beside the experiment
    #[arg(last = true, value_name = "SBATCH ARGUMENTS")]
    sbatch: Vec<String>,
}

/// Sends what has no result and is not queued or running.
pub(super) fn submit(args: &SubmitArgs) -> Result<()> {
    let beside = args.file.experiment.parent().unwrap_or(Path::new(""));
    let mut options = Options::read(beside, &args.sbatch)?;
    options.jobs = args.jobs.map(|k| k as usize).or(options.jobs);
    let setup = prepare::read(&args.file, args.out.as_deref())?;
    let program = std::env::current_exe().context("the path of this program")?;
    // Held until all is sent: of two submissions at once, one is refused.
    let (run, _lock) = if args.dry_run {
        let path = run_folder::path(&setup, args.out.as_deref())?;
        (Run { path: real(&path)? }, None)
    } else {
        let folder = RunFolder::open(&setup, args.out.as_deref(), Where::Elsewhere)?;
        let path = real(&folder.run.path)?;
        (Run { path }, Some(folder))
    };
    if run.path.to_string_lossy().contains(char::is_control) {
        return Err(BadInput::new(format!(
            "{}: a script for Slurm cannot hold a path with control characters\n  hint: another folder with --out",
            run.path.display()
        )));
    }
    let scripts = Scripts {
        program: &program,
        run: &run.path,
        name: &setup.experiment.name,
        options: &options,
    };
    let queued = match settled(&run.path, args.dry_run) {
        Err(e) if args.dry_run => {
            tell!("what is queued is not known: {e}");
            Vec::new()
        }
        queued => queued?,
    };
    let plan = &setup.plan;
    let (wanted, queued) = wanted(&run, plan, queued, args);
    if wanted.is_empty() {
        say!(
            "nothing is sent; `rpo-train status {}` tells more",
            run.path.display()
        );
        return Ok(());
    }
    let limits = commands::limits();
    if !limits.known {
        tell!(
            "Slurm's MaxArraySize is not known here: {} is assumed",
            limits.size
        );
    }
    let chunks = chunks(&wanted, limits.size, limits.tasks);
    if args.dry_run {
        return show(&scripts, &chunks, &queued);
    }
    send(&scripts, &chunks, &queued)?;
    say!(
        "`rpo-train status {}` tells how they stand",
        run.path.display()
    );
    Ok(())
}

/// Time that elements may take to end: to save, and what Slurm needs.
const ENDING: Duration = Duration::from_secs(60);

/// The elements that Slurm has, once none is ending: whether it is gone or queued again is known only then.
fn settled(run: &Path, dry_run: bool) -> Result<Vec<Element>> {
    let began = Instant::now();
    let mut told = false;
    loop {
        let elements = commands::elements(run)?;
        let ending = elements.iter().filter(|e| e.state == "COMPLETING").count();
        if ending == 0 || dry_run || began.elapsed() > ENDING {
            return Ok(elements);
        }
        if !told {
            tell!("waiting for {ending} elements that are ending");
        }
        told = true;
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// The path without links, as far as it exists.
fn real(path: &Path) -> Result<PathBuf> {
    let whole = std::path::absolute(path).reading(path)?;
    let existing = whole
        .ancestors()
        .find_map(|a| Some((a, std::fs::canonicalize(a).ok()?)));
    Ok(match existing {
        Some((part, real)) if part == whole => real,
        Some((part, real)) => real.join(whole.strip_prefix(part).unwrap_or(Path::new(""))),
        None => whole,
    })
}

/// Indices of the cells to send, and the elements of others that have no result yet; tells how many.
fn wanted(
    run: &Run,
    plan: &Plan,
    mut elements: Vec<Element>,
    args: &SubmitArgs,
) -> (Vec<usize>, Vec<Element>) {
    let queued: BTreeSet<usize> = elements.iter().map(|e| e.cell).collect();
    let (mut wanted, mut finished) = (Vec::new(), BTreeSet::new());
    let (mut busy, mut given_up) = (0, Vec::new());
    for (index, cell) in plan.cells.iter().enumerate() {
        let standing = Standing::of(run, plan, cell);
        match &standing {
            Standing::Finished => {
                finished.insert(index);
            }
            _ if queued.contains(&index) => busy += 1,
            Standing::Running(_) => busy += 1,
            Standing::Failed { message, .. } if standing.is_given_up() && !args.again => {
                given_up.push(format!("{}: {message}", cell.id));
            }
            _ => wanted.push(index),
        }
        if args.again && !args.dry_run && standing.is_given_up() {
            run.trajectory(cell).forget_failures();
        }
    }
    // Nothing waits for these, even if Slurm has not noticed their end.
    elements.retain(|e| !finished.contains(&e.cell));
    say!(
        "{}: {} cells: {} finished, {busy} queued or running, {} to send",
        run.path.display(),
        plan.cells.len(),
        finished.len(),
        wanted.len()
    );
    if !given_up.is_empty() {
        tell!(
            "{} cells failed three times with the same message and are not sent; --again sends them:\n{}",
            given_up.len(),
            given_up.join("\n")
        );
    }
    (wanted, elements)
}

const CELL: &str = "slurm/cell.sh";
const REPORT: &str = "slurm/report.sh";

/// The arguments of sbatch for a chunk; `after`: the arrays before it, where only some cells may run at a time.
fn arguments(scripts: &Scripts<'_>, chunk: &Chunk, after: &BTreeSet<String>) -> Vec<String> {
    let cap = scripts
        .options
        .jobs
        .map_or_else(String::new, |k| format!("%{k}"));
    let mut words = vec![format!("--array={}{cap}", list(&chunk.elements))];
    if scripts.options.jobs.is_some() && !after.is_empty() {
        words.push(dependency(after));
    }
    words.push(scripts.run.join(CELL).display().to_string());
    if chunk.offset > 0 {
        words.push(chunk.offset.to_string());
    }
    words
}

/// The option that lets a job wait for the end of others.
fn dependency(jobs: &BTreeSet<String>) -> String {
    let jobs: Vec<&str> = jobs.iter().map(String::as_str).collect();
    format!("--dependency=afterany:{}", jobs.join(":"))
}

/// The arguments of sbatch for the report.
fn after_all(scripts: &Scripts<'_>, jobs: &BTreeSet<String>) -> Vec<String> {
    vec![
        dependency(jobs),
        scripts.run.join(REPORT).display().to_string(),
    ]
}

/// The arrays that Slurm still has.
fn arrays(queued: &[Element]) -> BTreeSet<String> {
    let array = |e: &Element| e.job.split('_').next().unwrap_or_default().to_owned();
    queued.iter().map(array).collect()
}

fn show(scripts: &Scripts<'_>, chunks: &[Chunk], queued: &[Element]) -> Result<()> {
    for (file, text) in [(CELL, scripts.cell()), (REPORT, scripts.report())] {
        say!("\n==> {}\n{text}", scripts.run.join(file).display());
    }
    let (mut jobs, mut before) = (arrays(queued), arrays(queued));
    for (i, chunk) in chunks.iter().enumerate() {
        say!("sbatch {}", arguments(scripts, chunk, &before).join(" "));
        jobs.insert(format!("JOB{i}"));
        before = [format!("JOB{i}")].into();
    }
    say!("sbatch {}", after_all(scripts, &jobs).join(" "));
    Ok(())
}

fn send(scripts: &Scripts<'_>, chunks: &[Chunk], queued: &[Element]) -> Result<()> {
    for (file, text) in [(CELL, scripts.cell()), (REPORT, scripts.report())] {
        files::write(&scripts.run.join(file), text.as_bytes())?;
    }
    let (mut jobs, mut before) = (arrays(queued), arrays(queued));
    for (i, chunk) in chunks.iter().enumerate() {
        let words = arguments(scripts, chunk, &before);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let job = commands::submit(&words).with_context(|| {
            let left: usize = chunks[i..].iter().map(|c| c.elements.len()).sum();
            format!("{left} cells are not sent; the same command sends them")
        })?;
        say!("array {job}: {} cells", chunk.elements.len());
        jobs.insert(job.to_string());
        before = [job.to_string()].into();
    }
    let words = after_all(scripts, &jobs);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let job = commands::submit(&words).with_context(|| {
        let run = scripts.run.display();
        format!("the cells are sent, their report is not; `rpo-train report {run}` writes it")
    })?;
    say!("report {job}: after all of them");
    Ok(())
}
