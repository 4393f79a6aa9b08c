//! A trajectory that is trained, its checkpoints chosen and tested.

use super::choice::{Choices, chosen_steps, decided, is_trained};
use super::folder::Folder;
use super::record::Record;
use super::test::StepResult;
use anyhow::Result;
use rpo_reward::select::Rule;
use std::collections::BTreeMap;

/// All that the files of such a trajectory say, pictures apart.
#[derive(Clone, Debug)]
pub struct Tested {
    /// Of the training, in order.
    pub records: Vec<Record>,
    /// What the rules chose.
    pub choices: Choices,
    /// By step, the result of step 0 and of every step that a rule chose.
    pub results: BTreeMap<usize, StepResult>,
}

impl Tested {
    /// Reads each file once; nothing where one is not there yet.
    pub(super) fn read(rules: &[Rule], folder: &Folder) -> Result<Option<Self>> {
        if !is_trained(folder)? {
            return Ok(None);
        }
        let records = folder.checked_records()?;
        let choices = decided(rules, folder, &records)?;
        let mut results = BTreeMap::new();
        for step in chosen_steps(&choices) {
            let Some(result) = StepResult::read(folder, step)? else {
                return Ok(None);
            };
            results.insert(step, result);
        }
        Ok(Some(Self {
            records,
            choices,
            results,
        }))
    }
}
