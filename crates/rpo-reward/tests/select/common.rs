//! Plain trajectories and rules.

use rpo_reward::select::{Rule, Validation};
use rpo_reward::{Lambda, Mean, Score};

/// One picture per validation, with both scores equal to the reward, which every mean and λ returns.
pub(crate) fn plain(rewards: &[f64]) -> Vec<Validation> {
    let validation = |(i, &r): (usize, &f64)| Validation {
        candidate: (40 * i).into(),
        scores: vec![Score { image: r, text: r }],
    };
    rewards.iter().enumerate().map(validation).collect()
}

pub(crate) fn best(patience: Option<usize>) -> Rule {
    Rule::best("best", Mean::Arithmetic, Lambda::TEXT).with_patience(patience)
}
