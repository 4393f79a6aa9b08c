//! Runs a plan: train every cell, examine what the rules chose, write the results. Interrupted anywhere, it goes on where it was.

mod card;
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
mod trained;
mod trajectory;

use crate::memory::{self, Memory};
use crate::progress::Progress;
use crate::run_folder::RunFolder;
use anyhow::Result;
use rpo_experiment::run::{Times, duration};
use rpo_report::collect::collect;
use setup::Setup;

/// Runs the whole experiment in `folder`.
///
/// # Errors
/// The first failure, with the cell's name; everything written before it stays and the same command goes on from there.
pub fn run(setup: &Setup, folder: &RunFolder) -> Result<()> {
    let run = &folder.run;
    check_memory(setup)?;
    if let Some(saved) = setup.experiment.savings(&setup.arms) {
        println!("{saved}");
    }
    let times: Times = run.times();
    let mut progress = Progress::new(setup.total_cost(), times);
    let judges = exam::Judges::load(setup)?;
    for cell in &setup.cells {
        let trajectory = run.trajectory(cell);
        trajectory::train(setup, cell, &trajectory, &mut progress)?;
        run.write_times(&progress.times)?;
        exam::examine(setup, &judges, cell, &trajectory, &mut progress)?;
        run.write_times(&progress.times)?;
    }
    progress.times.total = progress.total();
    run.write_times(&progress.times)?;
    progress.finish();
    let table = collect(&setup.plan, &run.info()?, run)?;
    println!("{table}");
    let t = &progress.times;
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
    Ok(())
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
