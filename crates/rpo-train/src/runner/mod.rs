//! Runs a plan: train every cell, examine what the rules chose, write the results. Interrupted anywhere, it goes on where it was.

mod card;
pub mod checkpoint;
pub mod draw;
pub mod exam;
pub mod objective;
pub mod outline;
pub mod prepare;
pub mod settings;
pub mod setup;
pub mod state;
pub mod step;
mod step_folders;
mod trained;
mod trajectory;

pub use trajectory::validation_templates;

use crate::memory::{self, Memory};
use crate::plan::{Cell, cells};
use crate::progress::{Progress, Times, duration};
use crate::results;
use crate::run_folder::RunFolder;
use anyhow::Result;
use outline::Outline;
use setup::Setup;

/// Runs the whole experiment in `folder`.
///
/// # Errors
/// The first failure, with the cell's name; everything written before it stays and the same command goes on from there.
pub fn run(setup: &Setup, folder: &RunFolder) -> Result<()> {
    let cells = cells(setup);
    check_memory(setup)?;
    if let Some(saved) = setup.experiment.savings(&setup.arms) {
        println!("{saved}");
    }
    let times: Times = folder.times();
    let mut progress = Progress::new(total_cost(setup, &cells), times);
    let judges = exam::Judges::load(setup)?;
    for cell in &cells {
        let trajectory = folder.trajectory(cell);
        trajectory::train(setup, cell, &trajectory, &mut progress)?;
        folder.write_times(&progress.times)?;
        exam::examine(setup, &judges, cell, &trajectory, &mut progress)?;
        folder.write_times(&progress.times)?;
    }
    progress.times.total = progress.total();
    folder.write_times(&progress.times)?;
    progress.finish();
    let table = results::write(setup, folder, &cells)?;
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
    println!("report {}", folder.path.join("report.html").display());
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

/// U-Net forwards of the whole experiment if no trajectory stops early; a backward counts as two.
pub fn total_cost(outline: &Outline, cells: &[Cell]) -> f64 {
    let mut total = 0.0;
    for cell in cells {
        let (arm, subject) = (&outline.arms[cell.arm], &outline.subjects[cell.subject]);
        let prompts = outline.prompts(subject);
        let negatives = prompts.train.len() * prepare::negatives_per_prompt(&arm.recipe);
        total += outline.cost(negatives + prepare::class_pictures(&arm.recipe));
        total += cell.training_cost(outline);
        // At most: step 0 and one checkpoint a rule; rules that agree leave the estimate later.
        let pictures = prompts.test.len() * outline.experiment.test.pictures_per_prompt;
        total += (outline.rules.len() + 1) as f64 * outline.cost(pictures);
    }
    total
}

#[cfg(test)]
mod tests {
    use super::{cells, outline::Outline, total_cost};
    use rpo_experiment::read;

    fn outline(sets: &[&str]) -> Outline {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.toml");
        std::fs::write(&file, "[subjects]\ncount = 1\n").unwrap();
        let sets: Vec<String> = sets.iter().map(|&s| s.to_owned()).collect();
        let (experiment, layers) = read(&file, &[], &sets).unwrap();
        Outline::load(experiment, &layers).unwrap()
    }

    #[test]
    fn guided_evaluations_count_two_and_the_others_one() {
        let base = ["sampler.steps=10", "training.steps=20"];
        let cost = |set: &str| {
            let outline = outline(&[base[0], base[1], set]);
            (outline.cost(3), total_cost(&outline, &cells(&outline)))
        };
        let (whole, all) = cost("sampler.guidance_interval=[0, 1]");
        assert_eq!((whole, all), cost("sampler.guidance=3.0"));
        let (none, least) = cost("sampler.guidance=1.0");
        let (part, some) = cost("sampler.guidance_interval=[0.2, 0.6]");
        assert_eq!((whole, none, part), (60.0, 30.0, 42.0));
        // Training costs the same, pictures 14 passes of 20.
        assert!(((all - some) / (all - least) - 0.6).abs() < 1e-12);
    }
}
