//! Runs a plan: train every cell, examine what the rules chose, write the results. Interrupted anywhere, it goes on where it was.

mod card;
mod cell;
pub mod checkpoint;
pub mod draw;
pub mod exam;
pub mod objective;
mod photos;
pub mod prepare;
pub mod settings;
pub mod setup;
mod state;
pub mod step;
pub mod store;
mod trained;
mod trajectory;

use crate::memory::{self, Memory};
use crate::progress::Progress;
use anyhow::Result;
use cell::run_cell;
use rpo_experiment::plan::{Cell, Plan};
use rpo_experiment::run::{Run, duration};
use rpo_report::collect::collect;
use setup::Setup;

/// Runs every cell in this process, one after the other.
///
/// # Errors
/// An experiment that does not fit into this machine's memory.
pub fn run_all(setup: &Setup, run: &Run) -> Result<Vec<Failed>> {
    let judges = begin(setup)?;
    let mut progress = Progress::new(setup.total_cost());
    let mut failed = Vec::new();
    for cell in &setup.cells {
        if let Err(error) = run_cell(setup, &judges, run, cell, &mut progress) {
            progress.line(&format!("{}: failed; the other cells go on", cell.id));
            failed.push(Failed {
                cell: cell.id.clone(),
                error,
            });
        }
    }
    progress.finish();
    Ok(failed)
}

/// Runs one cell in this process.
///
/// # Errors
/// As [`run_cell`], and of an experiment that does not fit into this machine's memory.
pub fn run_one(setup: &Setup, run: &Run, cell: &Cell) -> Result<()> {
    let judges = begin(setup)?;
    let cost = setup.preparation_cost(cell) + setup.training_cost(cell);
    let mut progress = Progress::new(cost);
    run_cell(setup, &judges, run, cell, &mut progress)?;
    progress.finish();
    Ok(())
}

/// A cell that could not be finished.
pub struct Failed {
    /// Its name.
    pub cell: String,
    /// Why.
    pub error: anyhow::Error,
}

/// Writes the run's tables and page and prints them, whatever is finished.
///
/// # Errors
/// The failures, if there are any; a damaged record; I/O errors.
pub fn conclude(plan: &Plan, run: &Run, failed: Vec<Failed>) -> Result<()> {
    let table = collect(plan, &run.info()?, run)?;
    println!("{table}");
    let t = run.times(&plan.cells);
    println!(
        "time {} · negatives {} · training {} · validation {} ({:.0} %) · test {}",
        duration(t.total),
        duration(t.negatives),
        duration(t.training),
        duration(t.validation),
        100.0 * t.validation_share(),
        duration(t.test)
    );
    println!("report {}", run.path.join("report.html").display());
    let mut failed = failed.into_iter();
    let Some(first) = failed.next() else {
        return Ok(());
    };
    let others: Vec<String> = failed
        .map(|f| format!("\n{}: {:#}", f.cell, f.error))
        .collect();
    let summary = format!(
        "{} of {} cells failed; the same command tries them again\n{}",
        1 + others.len(),
        plan.cells.len(),
        first.cell
    );
    // The first one's kind is that of the whole.
    let error = first.error.context(summary);
    Err(if others.is_empty() {
        error
    } else {
        anyhow::anyhow!("{error:#}{}", others.concat())
    })
}

/// What is looked at before the first cell.
fn begin(setup: &Setup) -> Result<exam::Judges> {
    check_memory(setup)?;
    if let Some(saved) = setup.experiment.savings(&setup.arms) {
        println!("{saved}");
    }
    exam::Judges::load(setup)
}

/// Prints what every arm will take at its fullest.
///
/// # Errors
/// An arm that cannot fit into this machine.
fn check_memory(setup: &Setup) -> Result<()> {
    let sizes = setup.sizes()?;
    let shapes = setup.pipeline.unet_params.shapes();
    // What is loaded already is no longer free.
    let loaded = 4 * (sizes.unet.parameters() + sizes.encoders);
    let (place, available) = match setup.gpu()? {
        None => (
            Memory::Host,
            memory::available(setup).map(|free| free + loaded),
        ),
        Some((number, bytes)) => {
            let asked = setup.experiment.model.memory_gb;
            let bytes = if asked > 0.0 {
                (asked * 1e9) as usize
            } else {
                bytes
            };
            (Memory::Gpu(number), Some(bytes))
        }
    };
    for arm in &setup.arms {
        let adapters = arm
            .lora
            .as_ref()
            .map(|l| settings::lora(l).parameters(&shapes))
            .transpose()?;
        let estimate = memory::estimate(setup, arm, adapters, &sizes, place);
        memory::check(arm, &estimate, available)?;
        if estimate.total() > memory::WORTH_TELLING {
            println!("memory {}: {}", arm.name, estimate.describe());
        }
    }
    Ok(())
}
