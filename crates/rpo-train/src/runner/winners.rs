//! What the rules choose among the scored weights, while training goes on.

use super::setup::Setup;
use anyhow::Result;
use rpo_reward::Candidate;
use rpo_reward::select::{self, Validation};
use std::collections::BTreeSet;

/// What is kept, and whether every rule has stopped.
///
/// # Errors
/// Scores that are none.
pub(super) fn winners(
    setup: &Setup,
    scored: &[Validation],
    limit_reached: bool,
) -> Result<(BTreeSet<Candidate>, bool)> {
    let kept = select::kept(&setup.rules, scored, limit_reached)?;
    let mut finished = true;
    for rule in &setup.rules {
        finished &= select::decide(rule, scored, limit_reached)?.finished;
    }
    let kept = kept.iter().map(|i| scored[*i].candidate).collect();
    Ok((kept, finished))
}
