//! `rpo-train FILE`: an experiment on this machine, in one process or several.

use super::experiment_args::ExperimentArgs;
use crate::conclude::conclude;
use crate::device;
use crate::interrupt;
use crate::pool;
use crate::run_folder::{RunFolder, Where};
use crate::runner::{self, setup::Setup};
use anyhow::Result;
use rpo_experiment::device::{Wanted, parse};
use rpo_files::failure::BadInput;
use rpo_files::{console, tell};
use std::path::Path;

/// Runs or resumes it: `jobs` cells at a time, on `gpus` in turn.
pub(super) fn run(
    file: &ExperimentArgs,
    out: Option<&Path>,
    jobs: Option<usize>,
    gpus: Vec<String>,
    json: bool,
) -> Result<()> {
    if json {
        console::be_quiet();
    }
    let gpus = named(gpus)?;
    if !gpus.is_empty() {
        // This process asks the first of them for its memory, not one that it may not use.
        // SAFETY: the program has only this thread so far.
        unsafe { std::env::set_var(VISIBLE, gpus.join(",")) };
    }
    interrupt::listen()?;
    let (experiment, layers) = file.read_for(out)?;
    let wanted = parse(&experiment.model.device);
    let jobs = jobs.unwrap_or(gpus.len()).max(1);
    let chosen = device::open(&experiment.model.device, &experiment.model.dtype)?;
    let setup = Setup::load(experiment, &layers)?.at(chosen)?;
    let pooled = jobs > 1 || !gpus.is_empty();
    let gpus = match pooled {
        true => given_out(gpus, setup.device.is_some(), wanted.ok())?,
        false => Vec::new(),
    };
    let folder = RunFolder::open(&setup, out, Where::Here)?;
    let run = &folder.run;
    runner::tell(&setup)?;
    interrupt::check()?;
    if !pooled {
        let failed = runner::run_all(&setup, run)?;
        return conclude(&setup.plan, run, failed, json);
    }
    let on_each = match setup.device {
        Some(_) => jobs.div_ceil(gpus.len().max(1)),
        None => jobs,
    };
    runner::fits(&setup, on_each)?;
    // Each process loads what it needs; this one keeps only the plan.
    let plan = setup.plan.clone();
    drop(setup);
    let failed = pool::run_all(&plan, run, jobs, &gpus)?;
    conclude(&plan, run, failed, json)
}

const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";

/// The argument, if it names GPUs.
fn named(gpus: Vec<String>) -> Result<Vec<String>> {
    match gpus.iter().position(|g| g.trim().is_empty()) {
        None => Ok(gpus),
        Some(empty) => Err(BadInput::new(format!(
            "--gpus: number {empty} of the list is empty\n  hint: --gpus 0,1"
        ))),
    }
}

/// The GPUs that cells get in turn: the argument's, else those that `CUDA_VISIBLE_DEVICES` names, if cells compute on GPUs.
fn given_out(gpus: Vec<String>, on_gpu: bool, wanted: Option<Wanted>) -> Result<Vec<String>> {
    if !gpus.is_empty() && !on_gpu {
        tell!("--gpus: the cells compute on the CPU (model.device)");
    }
    let wanted = match wanted {
        Some(Wanted::Cuda(n)) if n > 0 => Some(n),
        _ => None,
    };
    match wanted {
        // All cells share it.
        Some(_) if gpus.is_empty() => Ok(gpus),
        Some(n) => Err(BadInput::new(format!(
            "model.device = \"cuda:{n}\": each cell is given one of the GPUs {}, and knows it as cuda:0\n  hint: device = \"cuda\"",
            gpus.join(", ")
        ))),
        None if gpus.is_empty() && on_gpu => Ok(visible()),
        None => Ok(gpus),
    }
}

/// The GPUs that this process may use, if something limits them.
fn visible() -> Vec<String> {
    let named = std::env::var(VISIBLE).unwrap_or_default();
    let named = named.split(',').map(str::trim).filter(|g| !g.is_empty());
    named.map(str::to_owned).collect()
}
