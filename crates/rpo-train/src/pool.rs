//! Cells in several processes on this machine.

use crate::interrupt;
use crate::runner::Failed;
use anyhow::{Context, Result, anyhow};
use rpo_experiment::plan::{Cell, Plan};
use rpo_experiment::run::Run;
use rpo_files::failure::BadInput;
use rpo_files::{AtPath, tell};
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// File for the output of a cell's process, in its trajectory's folder.
const LOG: &str = "log.txt";

/// Time between looks at a process.
const POLL: Duration = Duration::from_millis(20);

/// Runs the cells, `jobs` at a time, each in its own process with its share of the threads, and with one of `gpus` if there are
/// any, as `CUDA_VISIBLE_DEVICES` names them. The other cells continue when one fails; the failed ones are returned at the end.
///
/// # Errors
/// If this program's own path cannot be found; an interruption.
pub fn run_all(plan: &Plan, run: &Run, jobs: usize, gpus: &[String]) -> Result<Vec<Failed>> {
    let program = std::env::current_exe().context("the path of this program")?;
    let threads = (rayon::current_num_threads() / jobs).max(1);
    let (next, done, failed) = (
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        Mutex::new(Vec::new()),
    );
    let worker = |gpu: Option<&str>| {
        while !interrupt::is_asked() {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(cell) = plan.cells.get(index) else {
                break;
            };
            let result = work(&program, run, cell, index, threads, gpu);
            let n = done.fetch_add(1, Ordering::Relaxed) + 1;
            let how = match &result {
                Ok(()) => "done",
                Err(_) if interrupt::is_asked() => "interrupted",
                Err(_) => "failed",
            };
            tell!("{n} of {}: {} {how}", plan.cells.len(), cell.id);
            if let (Err(error), Ok(mut failed)) = (result, failed.lock()) {
                failed.push(Failed {
                    cell: cell.id.clone(),
                    error,
                });
            }
        }
    };
    std::thread::scope(|scope| {
        for slot in 0..jobs.min(plan.cells.len()) {
            // Round robin: as many cells on each.
            let gpu = gpus.get(slot % gpus.len().max(1)).map(String::as_str);
            let worker = &worker;
            scope.spawn(move || worker(gpu));
        }
    });
    interrupt::check()?;
    Ok(failed.into_inner().unwrap_or_default())
}

/// Runs one cell in its own process.
fn work(
    program: &Path,
    run: &Run,
    cell: &Cell,
    index: usize,
    threads: usize,
    gpu: Option<&str>,
) -> Result<()> {
    let folder = run.trajectory(cell).0;
    std::fs::create_dir_all(&folder).writing(&folder)?;
    let log = folder.join(LOG);
    let mut options = File::options();
    let file = options.append(true).create(true).open(&log);
    let file = file.writing(&log)?;
    let before = file.metadata()?.len() as usize;
    let mut command = Command::new(program);
    if let Some(gpu) = gpu {
        command.env("CUDA_VISIBLE_DEVICES", gpu);
    }
    let mut child = command
        .arg("cell")
        .arg(&run.path)
        .args(["--index", &index.to_string(), "--again", "--watched"])
        .env("RAYON_NUM_THREADS", threads.to_string())
        // It ends when this end of the pipe closes, that is with this process.
        .stdin(Stdio::piped())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()
        .reading(program)?;
    let mut watched = child.stdin.take();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if interrupt::is_asked() {
            // It saves what is done and ends.
            watched = None;
        }
        std::thread::sleep(POLL);
    };
    drop(watched);
    if status.success() {
        return Ok(());
    }
    let text = std::fs::read(&log).unwrap_or_default();
    let text = String::from_utf8_lossy(text.get(before..).unwrap_or_default()).into_owned();
    let said = format!("\n{text}");
    let said = match said.rfind("\nerror: ") {
        Some(at) => said[at + "\nerror: ".len()..].trim().to_owned(),
        None => format!("its process ended with {status}"),
    };
    let message = format!("{said}\n  log: {}", log.display());
    Err(match status.code() {
        Some(2) => BadInput::new(message),
        _ => anyhow!("{message}"),
    })
}
