//! The checkpoints that the rules chose on a trajectory.

use super::Folder;
use super::record::{Latest, Record, validations};
use anyhow::{Context, Result};
use rpo_reward::Candidate;
use rpo_reward::select::{self, Decision, Rule};
use std::collections::BTreeSet;

/// The choices of the rules on one trajectory.
#[derive(Clone, Debug)]
pub struct Choices {
    /// What was scored.
    pub candidates: Vec<Candidate>,
    /// Their scores.
    pub validations: Vec<select::Validation>,
    /// One decision per rule.
    pub decisions: Vec<Decision>,
}

/// The decisions of every rule on a finished trajectory.
///
/// # Errors
/// A damaged record.
pub fn choices(rules: &[Rule], folder: &Folder) -> Result<Choices> {
    decided(rules, folder, &folder.records()?, true)
}

/// As [`choices`], from records already read; `ended`: no more will follow.
pub(super) fn decided(
    rules: &[Rule],
    folder: &Folder,
    records: &[Record],
    ended: bool,
) -> Result<Choices> {
    let validations = validations(records);
    let decisions = rules
        .iter()
        .map(|rule| select::decide(rule, &validations, ended))
        .collect::<Result<_, _>>()
        .with_context(|| folder.0.display().to_string())?;
    Ok(Choices {
        candidates: validations.iter().map(|v| v.candidate).collect(),
        validations,
        decisions,
    })
}

impl Choices {
    /// What a rule chose, by its index.
    pub fn chosen(&self, rule: usize) -> Candidate {
        self.candidates[self.decisions[rule].chosen]
    }
}

/// Step 0 and what rules chose.
pub fn chosen_candidates(choices: &Choices) -> BTreeSet<Candidate> {
    let chosen = (0..choices.decisions.len()).map(|rule| choices.chosen(rule));
    std::iter::once(Candidate::BASE).chain(chosen).collect()
}

/// Whether the trajectory's training is finished.
///
/// # Errors
/// A damaged state file.
pub fn is_trained(folder: &Folder) -> Result<bool> {
    Ok(folder.latest()?.is_some_and(|Latest { done, .. }| done))
}
