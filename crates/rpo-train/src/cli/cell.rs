//! `rpo-train cell RUN`: one cell of a run, in its own process; the worker of every engine.

use super::given;
use super::worker::{Given, WhichCell};
use crate::device;
use crate::interrupt;
use crate::life::Start;
use crate::run_folder;
use crate::runner;
use crate::runner::setup::Setup;
use anyhow::{Result, anyhow};
use clap::Args;
use rpo_experiment::plan::{Cell, Plan};
use rpo_experiment::run::Run;
use rpo_files::failure::{BadInput, OrBadInput};
use rpo_files::{say, tell};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// After a machine is lost, its locks on a shared file system last until its lease ends: 90 seconds on NFS.
const PATIENCE: Duration = Duration::from_secs(180);

/// Time between two tries to take a lock.
const POLL: Duration = Duration::from_secs(1);

#[derive(Args)]
pub(super) struct CellArgs {
    /// Run folder
    run: PathBuf,
    #[command(flatten)]
    which: WhichCell,
    /// Also try a cell that has failed three times with the same message
    #[arg(long)]
    again: bool,
    /// End when standard input closes
    #[arg(long, hide = true)]
    watched: bool,
}

/// Runs a cell of the plan. A finished one returns at once, without loading a model.
pub(super) fn cell(args: &CellArgs) -> Result<()> {
    interrupt::listen()?;
    if args.watched {
        // The process ends with the one that started it.
        std::thread::spawn(|| {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            interrupt::ask();
        });
    }
    given::want_run(&args.run)?;
    let (index, told_by) = args.which.index(|name| std::env::var(name).ok())?;
    let run = Run {
        path: args.run.clone(),
    };
    const NO_RUN: &str = "the run cannot be read; one of a version without cells has no plan";
    run.info().or_bad_input(NO_RUN)?;
    let plan = run.plan().or_bad_input(NO_RUN)?;
    let Some(cell) = plan.cells.get(index) else {
        return Err(BadInput::new(format!(
            "index {index}: the run has {} cells, from 0 on",
            plan.cells.len()
        )));
    };
    let is_finished = || run.is_finished(&plan, cell);
    if is_finished().is_ok_and(|is| is) {
        say!("{}: is finished", cell.id);
        return Ok(());
    }
    let mut start = start(&run, cell, told_by)?;
    if !args.again {
        refuse_hopeless(&run, cell)?;
    }
    // Again: who had the lock before may have finished it.
    match is_finished() {
        Ok(true) => {
            say!("{}: is finished", cell.id);
            return Ok(());
        }
        Ok(false) => start.announce(),
        Err(damaged) => return start.end(Err(damaged)),
    }
    match load(&run, &plan) {
        Err(e) => start.end(Err(e)),
        Ok(setup) => runner::run_one(&setup, &run, cell, start),
    }?;
    say!("{}: finished", cell.id);
    Ok(())
}

/// Takes the cell's lock: an engine may start a cell again before the lock of a lost machine has ended.
fn start(run: &Run, cell: &Cell, told_by: Given) -> Result<Start> {
    let began = Instant::now();
    let mut told = false;
    loop {
        match Start::take(run, cell) {
            Err(e)
                if e.is::<BadInput>() && told_by == Given::Engine && began.elapsed() < PATIENCE =>
            {
                interrupt::check()?;
                if !told {
                    tell!("waiting: {e}");
                }
                told = true;
                std::thread::sleep(POLL);
            }
            // No fault of the input: an engine that reads exit codes may try again.
            Err(e) if told_by == Given::Engine => return Err(anyhow!("{e:#}")),
            taken => {
                if told {
                    // What the holder wrote is seen, also where a file system remembers what was missing.
                    rpo_files::look_again(&run.trajectory(cell).0);
                }
                return taken;
            }
        }
    }
}

/// Refuses a cell that will most likely fail once more.
fn refuse_hopeless(run: &Run, cell: &Cell) -> Result<()> {
    let life = run.trajectory(cell).life().unwrap_or_default();
    match life.given_up() {
        None => Ok(()),
        Some(failure) => Err(BadInput::new(format!(
            "{}: has failed {} times with the same message, and is not tried again:\n{}\n  hint: mend the cause, then try it with --again",
            cell.id, failure.times, failure.message
        ))),
    }
}

/// The inputs of the run, on this machine's device.
fn load(run: &Run, plan: &Plan) -> Result<Setup> {
    let (setup, info) = run_folder::load(run)?;
    if setup.cells != plan.cells {
        return Err(BadInput::new(format!(
            "{}: its cells are not those of resolved.toml beside it\n  hint: run the experiment again, which writes it anew",
            run.plan_path().display()
        )));
    }
    let model = &setup.experiment.model;
    let chosen = device::open(&model.device, &model.dtype)?;
    let setup = setup.at(chosen)?;
    run_folder::tell_difference(&info, &setup);
    interrupt::check()?;
    Ok(setup)
}
