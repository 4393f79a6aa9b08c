//! An experiment resolved without weights: arms, rules, subjects, cells, the pictures to draw, and the cost.
//!
//! Plain data: the runner, the report and every process of a run read the same plan.

mod cell;
mod class_folders;
mod cost;
mod counts;
mod folders;
mod planned;
mod prompts;
mod rows;
mod shots;
mod subjects;

use crate::arms::TrainingArm;
use crate::bounds::MOST_CELLS;
use crate::fields::Experiment;
use crate::layer::Layers;
use anyhow::{Result, bail};
use prompts::Lists;
use rpo_files::failure::BadInput;
use rpo_reward::Variant;
use rpo_reward::select::Rule;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

pub use cell::{Cell, folder_name};
pub use class_folders::ClassFolder;
pub use counts::{class_pictures, negatives_per_prompt, own_per_prompt};
pub use folders::{SubjectFolder, subject_folders};
pub use planned::PlannedSubject;
pub use rows::{Row, STEP_0};
pub use shots::{Purpose, Shot};

/// Version of the plan's layout.
pub const VERSION: u32 = 1;

/// A resolved experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Version of this layout.
    pub version: u32,
    /// Every key of the experiment file.
    pub experiment: Experiment,
    /// Its arms, each with its full recipe.
    pub arms: Vec<TrainingArm>,
    /// Its selection rules.
    pub rules: Vec<Rule>,
    /// Its subjects with their prompts.
    pub subjects: Vec<PlannedSubject>,
    /// One trajectory for each arm, subject and seed.
    pub cells: Vec<Cell>,
    /// Network evaluations per picture: solver steps, or what the solver makes of them on the model's schedule.
    pub evaluations: usize,
}

impl Plan {
    /// Resolves an experiment. Photos are listed, not decoded; a missing folder of photos is replaced by a placeholder.
    ///
    /// # Errors
    /// [`BadInput`] naming the file or key.
    pub fn of(experiment: Experiment, layers: &Layers) -> Result<Self> {
        let arms = experiment.training_arms(layers)?;
        if let Some((first, i)) = same_folder(arms.iter().map(|a| a.name.as_str())) {
            let message = format!(
                "`{}` and `{}` would share one folder, so one trajectory\n  hint: names that differ in letters or digits",
                arms[first].name, arms[i].name
            );
            return Err(layers.error(&format!("arm.{i}.name"), &message));
        }
        let lists = Lists::of(&experiment, layers)?;
        let mut subjects = subjects::of(&experiment, &lists, layers)?;
        class_folders::count(&experiment, &arms, &mut subjects, layers)?;
        lists.check(&experiment, &arms, &subjects, layers)?;
        if let Some((first, i)) = same_folder(subjects.iter().map(|s| s.name.as_str())) {
            return Err(BadInput::new(format!(
                "subjects `{}` and `{}` would share one folder, so one trajectory\n  hint: rename the folder of one of them so that they differ in letters or digits; a [[subject]] may have a `name`",
                subjects[first].name, subjects[i].name
            )));
        }
        let factors = [
            ("arm", arms.len()),
            ("subjects.count", subjects.len()),
            ("seeds", experiment.seeds.len()),
        ];
        let cells = factors.iter().fold(1, |n: usize, f| n.saturating_mul(f.1));
        if cells > MOST_CELLS {
            let key = factors.iter().max_by_key(|f| f.1).map_or("seeds", |f| f.0);
            let message = format!(
                "{} arms x {} subjects x {} seeds are {cells} trajectories, of at most {MOST_CELLS}",
                factors[0].1, factors[1].1, factors[2].1
            );
            return Err(layers.error(key, &message));
        }
        let cells = cell::all(&experiment.seeds, &arms, &subjects);
        for cell in &cells {
            cell.check_length(&arms)?;
        }
        let plan = Self {
            version: VERSION,
            rules: experiment.selection_rules(&arms),
            cells,
            evaluations: experiment.sampler.steps,
            experiment,
            arms,
            subjects,
        };
        plan.check_baseline(layers)?;
        Ok(plan)
    }

    /// Checks a plan that was read from a file, which may have been edited.
    ///
    /// # Errors
    /// With the first inconsistency.
    pub fn check(&self) -> Result<()> {
        if self.version != VERSION {
            bail!(
                "a plan of version {}, this program knows {VERSION}\n  hint: use the program that made it",
                self.version
            );
        }
        let e = &self.experiment;
        let numbers = [
            e.validation.every,
            e.validation.pictures_per_prompt,
            e.test.pictures_per_prompt,
            self.evaluations,
            self.cells.len(),
        ];
        e.candidates.variants()?;
        let steps = self.arms.iter().map(|arm| arm.training.steps);
        let numbers: Vec<usize> = numbers.into_iter().chain(steps).collect();
        if numbers.contains(&0) || self.cells != cell::all(&e.seeds, &self.arms, &self.subjects) {
            bail!(
                "its cells are not those of its arms, subjects and seeds: it was changed\n  hint: run the experiment again, which writes it anew"
            );
        }
        Ok(())
    }

    /// The arm of a cell.
    pub fn arm(&self, cell: &Cell) -> &TrainingArm {
        &self.arms[cell.arm]
    }

    /// The variants of weights that are scored at every validated step after 0, before the trained ones.
    pub fn variants(&self) -> Vec<Variant> {
        // Checked when the file was read.
        self.experiment.candidates.variants().unwrap_or_default()
    }

    /// The subject of a cell.
    pub fn subject(&self, cell: &Cell) -> &PlannedSubject {
        &self.subjects[cell.subject]
    }
}

/// The first two of `names` that are the same folder, also on file systems that ignore case.
fn same_folder<'a>(names: impl Iterator<Item = &'a str>) -> Option<(usize, usize)> {
    let mut before = HashMap::new();
    let mut folders = names.map(|n| folder_name(n).to_lowercase()).enumerate();
    folders.find_map(|(i, folder)| match before.entry(folder) {
        Entry::Occupied(first) => Some((*first.get(), i)),
        Entry::Vacant(free) => {
            free.insert(i);
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read;

    #[test]
    fn names_that_are_one_folder_are_found() {
        let of = |names: &[&str]| same_folder(names.iter().copied());
        assert_eq!(of(&["a", "b", "a b", "A-B"]), Some((2, 3)));
        assert_eq!(of(&["a", "b", "ab"]), None);
    }

    pub(super) fn plan(sets: &[&str]) -> Plan {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.toml");
        std::fs::write(&file, "[subjects]\ncount = 1\n").unwrap();
        let sets: Vec<String> = sets.iter().map(|&s| s.to_owned()).collect();
        let (experiment, layers) = read(&file, &[], &sets).unwrap();
        Plan::of(experiment, &layers).unwrap()
    }

    #[test]
    fn a_plan_comes_back_from_its_file() {
        for sets in [
            &["lora.rank=4", "recipe.clip_grad_norm=\"none\""][..],
            &[
                "recipe.preset=\"paper\"",
                "rules.last=true",
                "sampler.guidance_interval=[0.1, 0.6]",
            ],
        ] {
            let plan = plan(sets);
            let text = serde_json::to_string(&plan).unwrap();
            assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
            plan.check().unwrap();
            let changes: [fn(&mut Plan); 6] = [
                |p| p.cells[0].arm = 7,
                |p| p.cells[0].id = "../../x".into(),
                |p| p.cells.clear(),
                |p| p.version += 1,
                |p| p.experiment.validation.every = 0,
                |p| p.arms[0].training.steps = 0,
            ];
            for change in changes {
                let mut other = plan.clone();
                change(&mut other);
                assert!(other.check().is_err());
            }
        }
    }
}
