//! Plain trajectories and rules.

use rpo_reward::select::{Rule, Validation};
use rpo_reward::{Lambda, Mean, Score};

/// One picture a validation, both of whose scores are the reward: every mean and λ gives it back.
pub(crate) fn plain(rewards: &[f64]) -> Vec<Validation> {
    let validation = |(i, &r)| Validation {
        step: 40 * i,
        scores: vec![Score { image: r, text: r }],
    };
    rewards.iter().enumerate().map(validation).collect()
}

pub(crate) fn best(patience: Option<usize>) -> Rule {
    Rule::best("best", Mean::Arithmetic, Lambda::TEXT).with_patience(patience)
}
