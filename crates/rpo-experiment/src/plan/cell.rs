//! Cells: one trajectory each.

use super::planned::PlannedSubject;
use crate::arms::TrainingArm;
use anyhow::Result;
use rpo_files::failure::BadInput;
use serde::{Deserialize, Serialize};

/// One trajectory to train.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// `arm/subject/seed-0`: its name and its folder.
    pub id: String,
    /// Index of its arm.
    pub arm: usize,
    /// Index of its subject.
    pub subject: usize,
    /// Its seed.
    pub seed: u64,
}

/// Bytes that file systems allow in a name.
const LONGEST: usize = 255;

/// Bytes of the endings of files that are named after a cell: `.safetensors` and shorter ones.
const ENDING: usize = 16;

impl Cell {
    /// Refuses names whose folders, or the LoRA files named after arm, subject and seed, could not be created.
    pub(super) fn check_length(&self, arms: &[TrainingArm]) -> Result<()> {
        let adapters = arms.get(self.arm).is_some_and(|arm| arm.lora.is_some());
        let file = adapters.then_some(self.id.len() + ENDING);
        let longest = self.id.split('/').map(str::len).chain(file).max();
        match longest {
            Some(bytes) if bytes > LONGEST => Err(BadInput::new(format!(
                "`{}`: a file or folder named so has {bytes} bytes, and file systems allow {LONGEST}\n  hint: a shorter name of the arm, or of the subject (the folder of its photos)",
                self.id
            ))),
            _ => Ok(()),
        }
    }
}

/// All cells, by subject, so that the arms of one subject are adjacent.
pub(super) fn all(seeds: &[u64], arms: &[TrainingArm], subjects: &[PlannedSubject]) -> Vec<Cell> {
    let mut cells = Vec::new();
    for (subject, s) in subjects.iter().enumerate() {
        for &seed in seeds {
            for (arm, a) in arms.iter().enumerate() {
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
    use super::{Cell, folder_name};

    #[test]
    fn names_that_no_file_can_have_are_refused() {
        let cell = |subject: &str| Cell {
            id: format!("ours/{}/seed-0", folder_name(subject)),
            arm: 0,
            subject: 0,
            seed: 0,
        };
        let said = |subject: &str, sets: &[&str]| {
            let plan = super::super::tests::plan(sets);
            let refused = cell(subject).check_length(&plan.arms).err();
            refused.map_or_else(String::new, |e| e.to_string())
        };
        let chinese = "狗".repeat(80);
        assert_eq!(said(&chinese, &[]), "");
        // The name of its LoRA file.
        assert!(said(&chinese, &["lora.rank=2"]).contains("268 bytes"));
        assert!(said(&"x".repeat(300), &[]).contains("300 bytes"));
        assert_eq!(said("dog", &["lora.rank=2"]), "");
    }

    #[test]
    fn folder_names_cannot_leave_the_run_folder() {
        assert_eq!(folder_name("../a b"), "-a-b");
        assert_eq!(folder_name(".."), "unnamed");
        assert_eq!(folder_name("λ_train = 0.3"), "λ_train---0.3");
    }
}
