//! Runs a plan: train every cell, test the chosen checkpoints. Interrupted anywhere, it resumes.

mod arms_fit;
mod card;
mod cell;
pub mod checkpoint;
pub mod class_folders;
mod class_squares;
mod conditioned;
mod contrast;
pub mod draw;
mod draws;
mod events;
mod family;
mod held;
mod image_encoder;
pub mod masks;
pub mod network;
mod noised;
pub mod objective;
pub mod photos;
pub mod prepare;
pub mod prompted;
pub mod round;
mod rounds;
pub mod settings;
pub mod setup;
mod state;
pub mod step;
pub mod store;
pub mod test_pictures;
pub mod trainable;
mod trajectory;
mod turns;
mod validator;
mod variants;
mod winners;

use crate::device::machine;
use crate::life::Start;
use crate::memory::{self, Memory};
use crate::progress::Progress;
use crate::{about_photos, texts};
use anyhow::Result;
use cell::run_cell;
use rpo_experiment::SubjectSource;
use rpo_experiment::plan::Cell;
use rpo_experiment::run::Run;
use rpo_files::failure::Interrupted;
use rpo_files::{mention, tell};
use setup::Setup;
use trainable::Shapes;

/// Runs every cell in this process, one after the other.
///
/// # Errors
/// An experiment that does not fit into this machine's memory; an interruption.
pub fn run_all(setup: &Setup, run: &Run) -> Result<Vec<Failed>> {
    let judges = begin(setup)?;
    let mut progress = Progress::new(setup.total_cost());
    let mut failed = Vec::new();
    for cell in &setup.cells {
        let result = Start::take(run, cell).and_then(|start| {
            progress.begin(
                start.on(machine(setup.device.as_deref())),
                setup.cell_cost(cell),
            );
            let result = run_cell(setup, &judges, run, cell, &mut progress);
            progress.end(result)
        });
        if let Err(error) = result {
            if error.is::<Interrupted>() {
                progress.finish();
                return Err(error);
            }
            progress.line(&format!(
                "{}: failed ({error:#}); the other cells continue",
                cell.id
            ));
            failed.push(Failed {
                cell: cell.id.clone(),
                error,
            });
        }
    }
    progress.finish();
    Ok(failed)
}

/// Runs one cell in this process, which has its lock.
///
/// # Errors
/// Those of the cell; an experiment that does not fit into this machine's memory.
pub fn run_one(setup: &Setup, run: &Run, cell: &Cell, start: Start) -> Result<()> {
    let cost = setup.cell_cost(cell);
    let mut progress = Progress::new(cost);
    progress.begin(start.on(machine(setup.device.as_deref())), cost);
    let result = begin(setup).and_then(|judges| run_cell(setup, &judges, run, cell, &mut progress));
    progress.finish();
    progress.end(result)
}

/// A cell that could not be finished.
pub struct Failed {
    /// Its name.
    pub cell: String,
    /// Why.
    pub error: anyhow::Error,
}

/// Checks before the first cell; loads the judges.
fn begin(setup: &Setup) -> Result<test_pictures::Judges> {
    fits(setup, 1)?;
    setup.drawer().store.sweep();
    if let Some(saved) = setup.experiment.savings(&setup.arms) {
        mention!("{saved}");
    }
    test_pictures::Judges::load(setup)
}

/// Tells what was found of photos and captions, and warns about texts that do not train as one might expect.
///
/// # Errors
/// Those of the tokenizer.
pub fn tell(setup: &Setup) -> Result<()> {
    if setup.experiment.subjects.source != SubjectSource::Stickerbench {
        for line in about_photos::counts(&setup.subjects) {
            mention!("photos {line}");
        }
        for remark in about_photos::remarks(setup, &setup.subjects, setup.size) {
            mention!("       {remark}");
        }
    }
    for line in about_photos::of_classes(setup, &setup.classes, setup.size) {
        mention!("class  {line}");
    }
    for remark in texts::remarks(setup, &setup.subjects, Some(&setup.pipeline))? {
        tell!("warning: {remark}");
    }
    for remark in texts::of_classes(setup, &setup.classes, Some(&setup.pipeline))? {
        tell!("warning: {remark}");
    }
    Ok(())
}

/// Prints the peak memory of every arm, in each of `jobs` processes.
///
/// # Errors
/// If an arm, in that many processes, does not fit into this machine's memory.
pub fn fits(setup: &Setup, jobs: usize) -> Result<()> {
    let sizes = setup.sizes()?;
    let unet = setup.pipeline.unet_params.shapes();
    let shapes = Shapes {
        unet: &unet,
        texts: &sizes.texts,
    };
    // What is already loaded no longer counts as available.
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
        let trained = setup.trainable(arm).parameters(shapes)?;
        let estimate = memory::estimate(setup, arm, trained, &sizes, place);
        memory::check(arm, &estimate, available.map(|bytes| bytes / jobs))?;
        if estimate.total() > memory::WORTH_TELLING {
            mention!("memory {}: {}", arm.name, estimate.describe());
        }
    }
    Ok(())
}
