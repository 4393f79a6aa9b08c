//! `rpo-train cell RUN --index N`: one cell of a run, in its own process.

use super::given;
use crate::device;
use crate::interrupt;
use crate::run_folder;
use crate::runner;
use anyhow::Result;
use rpo_experiment::run::Run;
use rpo_files::failure::{BadInput, OrBadInput};
use rpo_files::say;
use std::path::Path;

/// Runs the cell with this index in the plan. A finished cell returns at once, without loading a model.
/// `watched`: the process ends when its standard input closes, that is with the process that started it.
pub(super) fn cell(run: &Path, index: usize, watched: bool) -> Result<()> {
    interrupt::listen()?;
    if watched {
        std::thread::spawn(|| {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            interrupt::ask();
        });
    }
    given::want_run(run)?;
    let run = Run {
        path: run.to_owned(),
    };
    const NO_RUN: &str = "the run cannot be read; one of a version without cells has no plan";
    run.info().or_bad_input(NO_RUN)?;
    let plan = run.plan().or_bad_input(NO_RUN)?;
    let Some(cell) = plan.cells.get(index) else {
        return Err(BadInput::new(format!(
            "--index {index}: the run has {} cells, from 0 on",
            plan.cells.len()
        )));
    };
    if run.is_finished(&plan, cell)? {
        say!("{}: is finished", cell.id);
        return Ok(());
    }
    let (setup, info) = run_folder::load(&run)?;
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
    runner::run_one(&setup, &run, cell)?;
    say!("{}: finished", cell.id);
    Ok(())
}
