//! A start of a cell: its lock, its signs of life, and how it ended.

use crate::files::locked;
use anyhow::{Result, bail};
use rpo_experiment::plan::Cell;
use rpo_experiment::run::{Ended, Folder, Life, MOST_FAILURES, Run};
use rpo_files::Lock;
use rpo_files::failure::Interrupted;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

/// Time between signs of life: each is a small file, maybe on a file system that hundreds of cells share.
const BETWEEN: Duration = Duration::from_secs(10);

/// One process's work on one cell.
pub struct Start {
    /// The cell's folder, locked.
    pub folder: Folder,
    id: String,
    life: Life,
    told: Option<Instant>,
    _lock: Lock,
}

impl Start {
    /// Takes the cell's lock.
    ///
    /// # Errors
    /// [`rpo_files::failure::BadInput`] if another process works on it; I/O errors.
    pub fn take(run: &Run, cell: &Cell) -> Result<Self> {
        let folder = run.trajectory(cell);
        let lock = locked(&folder.0)?;
        let before = folder.life().unwrap_or_default();
        let life = Life {
            host: host(),
            process: std::process::id(),
            job: job(),
            log: log(),
            gpus: variable("CUDA_VISIBLE_DEVICES"),
            starts: before.starts + 1,
            began: now(),
            failure: before.failure,
            fruitless: before.fruitless,
            ..Life::default()
        };
        Ok(Self {
            folder,
            id: cell.id.clone(),
            life,
            told: None,
            _lock: lock,
        })
    }

    /// The first sign of life, before the inputs are loaded.
    pub fn announce(&mut self) {
        "starts".clone_into(&mut self.life.doing);
        self.write();
    }

    /// With what it computes on, known once the inputs are loaded.
    #[must_use]
    pub fn on(mut self, machine: String) -> Self {
        self.life.machine = machine;
        self
    }

    /// A sign of life, written if the last one is old: what it does, the cell's work `[done, all]` and the forwards per second.
    pub fn sign(&mut self, doing: &str, work: [f64; 2], rate: f64) {
        // The cell is known by its folder.
        let own = doing.strip_prefix(&self.id).unwrap_or(doing);
        own.trim_start_matches([' ', '·'])
            .clone_into(&mut self.life.doing);
        [self.life.done, self.life.all] = work;
        self.life.fruitless = 0;
        self.life.rate = rate;
        if self.told.is_none_or(|told| told.elapsed() >= BETWEEN) {
            self.write();
        }
    }

    /// The end of the work; what was found finished leaves no trace.
    pub fn end(mut self, result: Result<()>) -> Result<()> {
        let result = self.or_fruitless(result);
        match &result {
            Ok(()) if self.told.is_none() => return result,
            Ok(()) => {
                self.life.ended = Some(Ended::Finished);
                self.life.failure = None;
            }
            Err(e) if e.is::<Interrupted>() => self.life.ended = Some(Ended::Interrupted),
            Err(e) => self.life.fail(format!("{e:#}")),
        }
        self.write();
        result
    }

    /// An engine starts an interrupted cell again: for ever, if it never comes to work.
    fn or_fruitless(&mut self, result: Result<()>) -> Result<()> {
        if !result.as_ref().is_err_and(|e| e.is::<Interrupted>()) || self.life.all > 0.0 {
            return result;
        }
        self.life.fruitless += 1;
        if self.life.fruitless < MOST_FAILURES {
            return result;
        }
        let n = self.life.fruitless;
        self.life.fruitless = 0;
        bail!(
            "{}: {n} starts in a row were interrupted before anything was computed\n  hint: a longer time limit; Slurm's --signal=B:USR1@120 comes 2 to 3 minutes before it",
            self.id
        )
    }

    /// A sign that cannot be written stops nothing: what stops the work is told by the work.
    fn write(&mut self) {
        self.told = Some(Instant::now());
        self.life.seen = now();
        let _ = self.folder.write_life(&self.life);
    }
}

/// Seconds since 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |d| d.as_secs())
}

fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// The job of a scheduler that this process belongs to, as its commands name it.
fn job() -> Option<String> {
    let element = || {
        let array = variable("SLURM_ARRAY_JOB_ID")?;
        Some(format!("{array}_{}", variable("SLURM_ARRAY_TASK_ID")?))
    };
    let task = || {
        Some(format!(
            "{}@{}",
            variable("HQ_JOB_ID")?,
            variable("HQ_TASK_ID")?
        ))
    };
    // A worker of HyperQueue may itself be a job of Slurm.
    task().or_else(element).or_else(|| variable("SLURM_JOB_ID"))
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.is_empty())
}

/// The file that messages go to, where the system tells.
fn log() -> Option<PathBuf> {
    let file = fs::read_link("/proc/self/fd/2").ok()?;
    file.is_file().then_some(file)
}
