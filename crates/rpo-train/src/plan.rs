//! The cells of an experiment, one for each arm, subject and seed, with what each costs.

use crate::runner::outline::Outline;
use serde::{Deserialize, Serialize};

/// One trajectory to train.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// `arm/subject/seed-0`: its name and its folder.
    pub id: String,
    /// Place of its arm.
    pub arm: usize,
    /// Place of its subject.
    pub subject: usize,
    /// Its seed.
    pub seed: u64,
}

/// All cells, subject by subject so that the arms of one subject lie together.
pub fn cells(outline: &Outline) -> Vec<Cell> {
    let mut cells = Vec::new();
    for (subject, s) in outline.subjects.iter().enumerate() {
        for &seed in &outline.experiment.seeds {
            for (arm, a) in outline.arms.iter().enumerate() {
                let id = format!(
                    "{}/{}/seed-{seed}",
                    folder_name(&a.name),
                    folder_name(&s.name)
                );
                cells.push(Cell {
                    id,
                    arm,
                    subject,
                    seed,
                });
            }
        }
    }
    cells
}

impl Cell {
    /// U-Net forwards of one gradient step; a backward counts as two.
    pub fn step_cost(&self, outline: &Outline) -> f64 {
        let arm = &outline.arms[self.arm];
        let passes = arm.recipe.passes();
        ((3 * passes.trainable + passes.frozen) * arm.training.batch) as f64
    }

    /// U-Net forwards of one validation.
    pub fn validation_cost(&self, outline: &Outline) -> f64 {
        let arm = &outline.arms[self.arm];
        let prompts =
            crate::runner::validation_templates(outline, arm, &outline.subjects[self.subject]);
        let pictures = prompts.len() * outline.experiment.validation.pictures_per_prompt;
        outline.cost(pictures)
    }

    /// U-Net forwards from the first step to `step`, its validation included.
    pub fn cost_until(&self, outline: &Outline, step: usize) -> f64 {
        let limit = outline.arms[self.arm].training.steps;
        let every = outline.experiment.validation.every;
        let off_grid = usize::from(step == limit && !step.is_multiple_of(every));
        let validations = step / every + 1 + off_grid;
        step as f64 * self.step_cost(outline) + validations as f64 * self.validation_cost(outline)
    }

    /// U-Net forwards of the whole trajectory, negatives apart.
    pub fn training_cost(&self, outline: &Outline) -> f64 {
        self.cost_until(outline, outline.arms[self.arm].training.steps)
    }
}

/// A name as a folder: letters, digits, `.`, `_` and `-`; everything else becomes `-`.
pub fn folder_name(name: &str) -> String {
    let plain = |c: char| {
        if c.is_alphanumeric() || "._-".contains(c) {
            c
        } else {
            '-'
        }
    };
    let name: String = name.trim().chars().map(plain).collect();
    match name.trim_matches('.') {
        "" => "unnamed".into(),
        name => name.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::folder_name;

    #[test]
    fn folder_names_cannot_leave_the_run_folder() {
        assert_eq!(folder_name("../a b"), "-a-b");
        assert_eq!(folder_name(".."), "unnamed");
        assert_eq!(folder_name("λ_train = 0.3"), "λ_train---0.3");
    }
}
