//! The process that starts workers, takes up what they died of, and keeps findings.

use crate::case::Case;
use crate::judge::{Fault, Verdict, judge, listen};
use crate::shrink::shrink;
use crate::target::Target;
use crate::worker::{Summary, folder_of};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// An input that takes longer hangs.
const HANGS: Duration = Duration::from_secs(60);

/// Questions asked to make a finding smaller.
const TRIES: usize = 2000;

/// The same if each needs a process of its own.
const TRIES_WITH_A_PROCESS: usize = 40;

/// How long to go on.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Inputs at most.
    pub executions: u64,
    /// Time at most.
    pub time: Option<Duration>,
}

/// Tries a target; returns what was done and found. Inputs of new findings are kept below `findings`.
///
/// # Errors
/// I/O errors; workers that fail before their first input.
pub fn run(target: &Target, seed: u64, limits: Limits, findings: &Path) -> Result<Summary> {
    listen();
    let findings = findings.join(target.name);
    let start = Instant::now();
    let mut all = Summary::default();
    let mut batch = 0;
    loop {
        let executions = limits.executions.saturating_sub(all.executions);
        let time = limits.time.map(|t| t.saturating_sub(start.elapsed()));
        if executions == 0 || time.is_some_and(|t| t.is_zero()) {
            return Ok(all);
        }
        let place = scratch()?;
        let mut command = child(target, place.path())?;
        command.args(["--seed", &seed.to_string(), "--batch", &batch.to_string()]);
        command.args(["--executions", &executions.to_string()]);
        if let Some(time) = time {
            command.args(["--minutes", &(time.as_secs_f64() / 60.).to_string()]);
        }
        command.arg("--findings").arg(&findings);
        let ended = watch(command.spawn()?, place.path())?;
        let mut done: Summary = match fs::read(place.path().join("summary.json")) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(_) => Summary::default(),
        };
        let whole = ended.is_none();
        if let Some(how) = ended {
            let number = fs::read(place.path().join("progress")).unwrap_or_default();
            let Ok(number) = <[u8; 8]>::try_from(number) else {
                anyhow::bail!(
                    "{}: the worker failed before its first input: {how}",
                    target.name
                )
            };
            done.executions = u64::from_le_bytes(number) + 1;
            let fault = Fault::new("death", &how, &how);
            let folder = folder_of(&place.path().join("faults"), &fault.key);
            fs::create_dir_all(&folder)?;
            Case::read(&place.path().join("case"))?.write(&folder, &Case::default())?;
            done.faults.insert(fault.key.clone(), (1, fault));
        }
        for (_, fault) in done.faults.values() {
            let case = Case::read(&folder_of(&place.path().join("faults"), &fault.key))?;
            keep(target, &findings, fault, &case)?;
        }
        add(&mut all, done);
        batch += 1;
        if whole && limits.time.is_none() {
            return Ok(all);
        }
    }
}

fn add(all: &mut Summary, done: Summary) {
    all.executions += done.executions;
    all.accepted += done.accepted;
    all.refusals.extend(done.refusals);
    for (key, (times, fault)) in done.faults {
        all.faults.entry(key).or_insert_with(|| (0, fault)).0 += times;
    }
}

/// A folder in memory where there is one.
fn scratch() -> Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    let folder = tempfile::Builder::new()
        .prefix("rpo-hostile-")
        .tempdir_in(memory);
    folder
        .or_else(|_| tempfile::tempdir())
        .context("a temporary folder")
}

fn child(target: &Target, place: &Path) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    let said = fs::File::create(place.join("said"))?;
    command.arg(target.name).arg("--work").arg(place);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said);
    Ok(command)
}

/// Waits for a worker; how it died, if it did.
fn watch(mut worker: Child, place: &Path) -> Result<Option<String>> {
    let (mut seen, mut since) = (Vec::new(), Instant::now());
    loop {
        if let Some(status) = worker.try_wait()? {
            if status.success() {
                return Ok(None);
            }
            let said = fs::read_to_string(place.join("said")).unwrap_or_default();
            return Ok(Some(format!("{status}: {}", why(&said))));
        }
        let now = fs::read(place.join("progress")).unwrap_or_default();
        if now != seen {
            (seen, since) = (now, Instant::now());
        } else if since.elapsed() > HANGS {
            worker.kill()?;
            worker.wait()?;
            return Ok(Some(format!("hangs for {} s", HANGS.as_secs())));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The line that says what a process died of, else its last one.
fn why(said: &str) -> &str {
    let lines = || said.lines().rev().filter(|line| !line.trim().is_empty());
    let known = |line: &&str| {
        [
            "memory allocation of",
            "overflowed its stack",
            "panicked at",
        ]
        .iter()
        .any(|word| line.contains(word))
    };
    lines()
        .find(known)
        .or_else(|| lines().next())
        .unwrap_or("nothing said")
}

/// Keeps a finding that is new, made smaller.
fn keep(target: &Target, findings: &Path, fault: &Fault, case: &Case) -> Result<()> {
    let folder = folder_of(findings, &fault.key);
    if folder.exists() {
        return Ok(());
    }
    let key = fault.key.as_str();
    // A verb prints: a process of its own keeps that to itself.
    let dies = target.verb || key.starts_with("death");
    let tries = match dies {
        _ if key.starts_with("slow") || key.contains("hangs") => 0,
        true => TRIES_WITH_A_PROCESS,
        false => TRIES,
    };
    let place = scratch()?;
    let small = shrink(case, tries, |case| {
        let shown = match dies {
            true => again(target, case),
            false => here(target, case, place.path()),
        };
        shown.is_ok_and(|shown| shown.as_deref() == Some(key))
    });
    fs::create_dir_all(folder.join("case"))?;
    small.write(&folder.join("case"), &Case::default())?;
    let text = format!("{}\n\n{}\n", fault.key, fault.detail);
    fs::write(folder.join("fault.txt"), text)?;
    Ok(())
}

/// The fault that a case shows in this process.
fn here(target: &Target, case: &Case, place: &Path) -> Result<Option<String>> {
    let folder = place.join("case");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    case.write(&folder, &Case::default())?;
    Ok(match judge(target, case, &folder) {
        Verdict::Fault(fault) => Some(fault.key),
        _ => None,
    })
}

/// The fault that a case shows in a process of its own.
fn again(target: &Target, case: &Case) -> Result<Option<String>> {
    let place = scratch()?;
    let folder = place.path().join("case");
    fs::create_dir_all(&folder)?;
    case.write(&folder, &Case::default())?;
    let mut command = child(target, place.path())?;
    command.arg("--replay").arg(&folder);
    match watch(command.spawn()?, place.path())? {
        Some(how) => Ok(Some(Fault::new("death", &how, "").key)),
        None => Ok(fs::read_to_string(place.path().join("key")).ok()),
    }
}

/// Reads the case in a folder once. If `place` is given, the fault's key is written there.
///
/// # Errors
/// I/O errors.
pub fn replay(target: &Target, folder: &Path, place: Option<&PathBuf>) -> Result<Verdict> {
    listen();
    let case = Case::read(folder)?;
    let verdict = judge(target, &case, folder);
    if let (Verdict::Fault(fault), Some(place)) = (&verdict, place) {
        fs::write(place.join("key"), &fault.key)?;
    }
    Ok(verdict)
}
