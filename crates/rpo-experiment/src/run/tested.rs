//! A trajectory that is trained and whose chosen checkpoints are tested.

use super::choice::{Choices, chosen_candidates, decided, is_trained};
use super::folder::Folder;
use super::record::Record;
use super::test::StepResult;
use anyhow::Result;
use rpo_reward::Candidate;
use rpo_reward::select::Rule;
use std::collections::BTreeMap;

/// The contents of such a trajectory's files, except pictures.
#[derive(Clone, Debug)]
pub struct Tested {
    /// Records of the training, in order.
    pub records: Vec<Record>,
    /// The choices of the rules.
    pub choices: Choices,
    /// The results of step 0 and of everything chosen.
    pub results: BTreeMap<Candidate, StepResult>,
}

impl Tested {
    /// Reads each file once; `None` if one is still missing.
    pub(super) fn read(rules: &[Rule], folder: &Folder) -> Result<Option<Self>> {
        if !is_trained(folder)? {
            return Ok(None);
        }
        let records = folder.checked_records()?;
        let choices = decided(rules, folder, &records, true)?;
        let mut results = BTreeMap::new();
        for candidate in chosen_candidates(&choices) {
            let Some(result) = StepResult::read(folder, candidate)? else {
                return Ok(None);
            };
            results.insert(candidate, result);
        }
        Ok(Some(Self {
            records,
            choices,
            results,
        }))
    }
}
