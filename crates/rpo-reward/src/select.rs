//! Which checkpoint of a trajectory is kept, and when the trajectory may stop.
//!
//! A rule reads the validations in order, those of a step together, and never past its own stop. So its decision is a function of the validations up
//! to its stop and does not change when another rule keeps the trajectory running.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::candidate::Candidate;
use crate::mean::{Lambda, Mean, Score, ScoreOutOfRange, mean_reward};
use rpo_stats::{Interval, PairedError};

mod rule;

pub use rule::{DEFAULT_PATIENCE, Kind, Rule};

/// The scores of one checkpoint on the validation prompts, always with the same noise and in the same order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// The weights that were scored; the first validation is that of the base model, at step 0.
    #[serde(flatten)]
    pub candidate: Candidate,
    /// One pair per picture.
    pub scores: Vec<Score>,
}

impl Validation {
    /// The reward of every picture.
    #[must_use]
    pub fn rewards(&self, mean: Mean, lambda: Lambda) -> Vec<f64> {
        self.scores
            .iter()
            .map(|&score| mean.reward(score, lambda))
            .collect()
    }
}

/// The decision of a rule on the validations so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Index of the chosen validation; provisional until the rule has stopped.
    pub chosen: usize,
    /// Index of the validation at which the rule stopped; `None` while it still runs.
    pub stopped_at: Option<usize>,
    /// The same as `stopped_at.is_some()`: later validations do not change this decision.
    pub finished: bool,
    /// One sentence for the report, with steps and rewards.
    pub reason: String,
}

/// Why a rule cannot decide. Only validations before the rule's own stop are checked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SelectError {
    /// There is no validation.
    #[error("no validation to choose from: the base model at step 0 is always validated first")]
    NoValidation,
    /// A validation without pictures.
    #[error(
        "the validation of step {step} has no pictures: at least one validation prompt is needed"
    )]
    NoPictures {
        /// Its step.
        step: Candidate,
    },
    /// Two validations of different size.
    #[error(
        "the validation of step {step} has {found} pictures, the first one {expected}: rewards are comparable only on the same prompts and noise"
    )]
    Uneven {
        /// Its step.
        step: Candidate,
        /// Number of its pictures.
        found: usize,
        /// That of the first validation.
        expected: usize,
    },
    /// Candidates that do not ascend.
    #[error(
        "step {step} is validated after step {before}: validations come in ascending order, each candidate once"
    )]
    Order {
        /// The step.
        step: Candidate,
        /// The one before it.
        before: Candidate,
    },
    /// A score that is NaN or out of range: the model has diverged, or an encoder is broken. It is an error and is not skipped,
    /// because everything after it comes from the same broken state.
    #[error("step {step}, picture {picture}: {source}")]
    Score {
        /// The step of the validation.
        step: Candidate,
        /// Position of the picture in it.
        picture: usize,
        /// Which score it is.
        source: ScoreOutOfRange,
    },
    /// A patience of 0 would stop before the first step.
    #[error(
        "rule `{0}`: patience = 0 stops before anything is learned; write 1 or more, or \"none\" to run to the limit"
    )]
    Patience(String),
}

/// The decision of `rule` on `validations`, the trajectory so far; `limit_reached`: no more will follow.
///
/// - [`Kind::Best`] chooses the highest mean reward up to its own stop, including step 0, the first of equals.
///   It stops at the step that is the `patience`-th in a row whose validations bring no new strict maximum, or at the limit.
/// - [`Kind::Last`] chooses the latest validation, the trained weights of the last step, and stops at the limit.
///
/// # Errors
/// [`SelectError`]; a broken score after the rule's stop is not seen and changes nothing.
pub fn decide(
    rule: &Rule,
    validations: &[Validation],
    limit_reached: bool,
) -> Result<Decision, SelectError> {
    if rule.patience == Some(0) {
        return Err(SelectError::Patience(rule.name.clone()));
    }
    let last = validations
        .len()
        .checked_sub(1)
        .ok_or(SelectError::NoValidation)?;
    let patience = match rule.kind {
        Kind::Best => rule.patience,
        Kind::Last => None,
    };
    let (mut best, mut best_reward, mut vain) = (0, f64::NEG_INFINITY, 0);
    for index in 0..=last {
        check(validations, index)?;
        let reward = mean_reward(&validations[index].scores, rule.mean, rule.lambda);
        if reward > best_reward {
            (best, best_reward, vain) = (index, reward, 0);
        }
        // The other weights of the same step may still be better.
        if !is_last_of_step(validations, index) {
            continue;
        }
        if validations[index].candidate.step > validations[best].candidate.step {
            vain += 1;
        }
        if patience.is_some_and(|patience| vain >= patience) {
            let reason = format!(
                "stopped at step {}: {vain} validations in a row brought nothing above {best_reward:.4} of step {}",
                validations[index].candidate, validations[best].candidate
            );
            return Ok(Decision {
                chosen: best,
                stopped_at: Some(index),
                finished: true,
                reason,
            });
        }
    }
    let step = validations[last].candidate;
    let (chosen, reason) = match (rule.kind, limit_reached) {
        (Kind::Last, true) => (last, format!("ran to the limit, step {step}")),
        (Kind::Last, false) => (last, format!("running, now at step {step}")),
        (Kind::Best, true) => (
            best,
            format!(
                "ran to the limit, step {step}; the highest reward is {best_reward:.4} of step {}",
                validations[best].candidate
            ),
        ),
        (Kind::Best, false) => (
            best,
            format!(
                "running, now at step {step}; the highest reward so far is {best_reward:.4} of step {}",
                validations[best].candidate
            ),
        ),
    };
    Ok(Decision {
        chosen,
        stopped_at: limit_reached.then_some(last),
        finished: limit_reached,
        reason,
    })
}

/// The validations with the highest reward for some λ of [`Lambda::grid`] under the harmonic or the arithmetic mean. A
/// validation that leaves the set never returns, so its weights may be deleted.
///
/// # Errors
/// As [`decide`].
pub fn winners_on_grid(validations: &[Validation]) -> Result<BTreeSet<usize>, SelectError> {
    if validations.is_empty() {
        return Err(SelectError::NoValidation);
    }
    for index in 0..validations.len() {
        check(validations, index)?;
    }
    let mut winners = BTreeSet::new();
    for mean in [Mean::Harmonic, Mean::Arithmetic] {
        for lambda in Lambda::grid() {
            let (mut best, mut best_reward) = (0, f64::NEG_INFINITY);
            for (index, validation) in validations.iter().enumerate() {
                let reward = mean_reward(&validation.scores, mean, lambda);
                if reward > best_reward {
                    (best, best_reward) = (index, reward);
                }
            }
            winners.insert(best);
        }
    }
    Ok(winners)
}

/// The validations whose weights must be kept: the choices of the rules, and the winners on the grid.
/// No other validation is needed later, neither by a rule nor by the grid.
///
/// # Errors
/// As [`decide`].
pub fn kept(
    rules: &[Rule],
    validations: &[Validation],
    limit_reached: bool,
) -> Result<BTreeSet<usize>, SelectError> {
    let mut kept = winners_on_grid(validations)?;
    for rule in rules {
        kept.insert(decide(rule, validations, limit_reached)?.chosen);
    }
    Ok(kept)
}

/// Gain of the chosen validation over the first one (step 0) in the rule's own reward: the mean of the per-picture
/// differences, each pair drawn from the same noise, with its Student t interval over pictures.
///
/// It distinguishes noise from gain on this validation set. It is not a result: the choice was made on the same pictures,
/// so the difference is biased upwards, and pictures of one subject say nothing about other subjects.
///
/// # Errors
/// A validation that is missing, unpaired, or not finite.
pub fn gain_over_first(
    rule: &Rule,
    validations: &[Validation],
    chosen: usize,
) -> Result<Interval, PairedError> {
    let (Some(first), Some(chosen)) = (validations.first(), validations.get(chosen)) else {
        return Err(PairedError::Empty);
    };
    Interval::of_difference(
        &chosen.rewards(rule.mean, rule.lambda),
        &first.rewards(rule.mean, rule.lambda),
    )
}

/// Whether no other candidate of its step follows.
fn is_last_of_step(validations: &[Validation], index: usize) -> bool {
    let step = |v: &Validation| v.candidate.step;
    let next = validations.get(index + 1).map(step);
    next != Some(step(&validations[index]))
}

fn check(validations: &[Validation], index: usize) -> Result<(), SelectError> {
    let Validation { candidate, scores } = &validations[index];
    let step = *candidate;
    if scores.is_empty() {
        return Err(SelectError::NoPictures { step });
    }
    let expected = validations[0].scores.len();
    if scores.len() != expected {
        return Err(SelectError::Uneven {
            step,
            found: scores.len(),
            expected,
        });
    }
    if index > 0 && step <= validations[index - 1].candidate {
        return Err(SelectError::Order {
            step,
            before: validations[index - 1].candidate,
        });
    }
    for (picture, score) in scores.iter().enumerate() {
        score.check().map_err(|source| SelectError::Score {
            step,
            picture,
            source,
        })?;
    }
    Ok(())
}
