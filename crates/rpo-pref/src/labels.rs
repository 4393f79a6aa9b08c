//! The label of a pair: is the reference preferred to the generated picture? (Eq. 6)

use rand::Rng;
use serde::{Deserialize, Serialize};

/// How a probability becomes a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelKind {
    /// `y ~ Bernoulli(p)`, drawn anew in every step (paper, official).
    Sampled,
    /// `y = p`: the same expected gradient, without sampling.
    Expected,
}

/// `P(reference > generated) = σ((r_ref - r_gen) / τ)`. The paper has no temperature: τ = 1.
///
/// `tau` must be positive ([`crate::Recipe::check`] ensures it). The result is in `[0, 1]`.
#[must_use]
pub fn probability(r_ref: f64, r_gen: f64, tau: f64) -> f64 {
    sigmoid((r_ref - r_gen) / tau)
}

/// The label y of a pair whose reference is preferred with probability `p`: 0 or 1 if sampled, `p` if expected.
///
/// A sampled label takes one draw from `rng`, an expected one none.
pub fn label<R: Rng + ?Sized>(kind: LabelKind, p: f64, rng: &mut R) -> f64 {
    match kind {
        LabelKind::Sampled => f64::from(u8::from(rng.random::<f64>() < p)),
        LabelKind::Expected => p,
    }
}

/// `1 / (1 + exp(-z))`, without overflow on either side.
pub(crate) fn sigmoid(z: f64) -> f64 {
    if z >= 0.0 {
        1.0 / (1.0 + (-z).exp())
    } else {
        let e = z.exp();
        e / (1.0 + e)
    }
}
