//! The losses over per-sample squared errors, in f64, each with its derivative in closed form.
//!
//! The networks give one number per sample; this is arithmetic on these B numbers, and its derivative is where the networks'
//! backward pass starts.

use crate::labels::sigmoid;
use serde::{Deserialize, Serialize};

/// The meaning of `||·||²` over the C · H · W numbers of a prediction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// Their sum, as printed in the paper.
    Sum,
    /// Their mean, as in the official code: ℓ is 1 / (C · H · W) of the sum's.
    Mean,
}

impl Norm {
    /// Factor on a mean squared error over `elements` = C · H · W numbers.
    #[must_use]
    pub fn scale(self, elements: usize) -> f64 {
        match self {
            Norm::Sum => elements as f64,
            Norm::Mean => 1.0,
        }
    }
}

/// A loss and its derivative in each of its B arguments.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// The loss.
    pub value: f64,
    /// ∂ value / ∂ argument, one per sample.
    pub slopes: Vec<f64>,
}

/// L_sim of Eq. 7, and DreamBooth's prior preservation: the mean over samples of their squared errors. The slope is 1 / B.
#[must_use]
pub fn mean(errors: &[f64]) -> Value {
    let share = 1.0 / errors.len() as f64;
    Value {
        value: errors.iter().sum::<f64>() * share,
        slopes: vec![share; errors.len()],
    }
}

/// [`mean`] with a weight for each sample, as min-SNR weights: `1/B Σ w e`, with the slopes `w / B`.
#[must_use]
pub fn weighted_mean(errors: &[f64], weights: &[f64]) -> Value {
    debug_assert_eq!(errors.len(), weights.len());
    let share = 1.0 / errors.len() as f64;
    let products = errors.iter().zip(weights).map(|(e, w)| e * w);
    Value {
        value: products.sum::<f64>() * share,
        slopes: weights.iter().map(|w| w * share).collect(),
    }
}

/// ℓ of Eq. 8: `(base_ref - theta_ref) - (base_gen - theta_gen)`, each a squared error of one sample.
///
/// Positive if training has improved the reference more than the generated picture.
#[must_use]
pub fn ell(base_ref: f64, theta_ref: f64, base_gen: f64, theta_gen: f64) -> f64 {
    (base_ref - theta_ref) - (base_gen - theta_gen)
}

/// L_pref of Eq. 8 over ℓ: the mean over samples of `-[y log σ(βℓ) + (1 - y) log σ(-βℓ)]`, with the slope `β (σ(βℓ) - y) / B`.
///
/// One label in `[0, 1]` per ℓ. Finite for every finite βℓ.
#[must_use]
pub fn l_pref(ell: &[f64], labels: &[f64], beta: f64) -> Value {
    debug_assert_eq!(ell.len(), labels.len());
    let share = 1.0 / ell.len() as f64;
    let of = |l: f64, y: f64| y * softplus(-beta * l) + (1.0 - y) * softplus(beta * l);
    let pairs = || ell.iter().zip(labels).map(|(l, y)| (*l, *y));
    Value {
        value: pairs().map(|(l, y)| of(l, y)).sum::<f64>() * share,
        slopes: pairs()
            .map(|(l, y)| beta * (sigmoid(beta * l) - y) * share)
            .collect(),
    }
}

/// DCO's consistency: `-log σ(-β d)` with d the mean error of the trained network less that of the base, and the slope `β σ(β d) / B`
/// in every error of the trained network.
#[must_use]
pub fn consistency(trained: &[f64], base: &[f64], beta: f64) -> Value {
    debug_assert_eq!(trained.len(), base.len());
    let z = beta * (mean(trained).value - mean(base).value);
    Value {
        value: softplus(z),
        slopes: vec![beta * sigmoid(z) / trained.len() as f64; trained.len()],
    }
}

/// Length below which a vector counts as this long in [`cosine`], as in torch's `cosine_similarity`.
const SHORTEST: f64 = 1e-8;

/// The cosine `a · b / (|a| |b|)` of two vectors of equal length, in [-1, 1], with its slope in every number of b,
/// `(a / |a| - cos b / |b|) / |b|`. Lengths below 1e-8 count as 1e-8; there the slope is `a / (1e-8 |a|)`.
#[must_use]
pub fn cosine(a: &[f64], b: &[f64]) -> Value {
    debug_assert_eq!(a.len(), b.len());
    let length = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
    let (of_a, of_b) = (length(a).max(SHORTEST), length(b));
    let long = of_b.max(SHORTEST);
    let value = a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>() / (of_a * long);
    // A length that is not b's own does not change with it.
    let along = if of_b > SHORTEST { value / long } else { 0.0 };
    let slope = |(a, b): (&f64, &f64)| (a / of_a - along * b) / long;
    Value {
        value,
        slopes: a.iter().zip(b).map(slope).collect(),
    }
}

/// `-log σ(-z) = log(1 + exp(z)) = max(z, 0) + log(1 + exp(-|z|))`.
fn softplus(z: f64) -> f64 {
    z.max(0.0) + (-z.abs()).exp().ln_1p()
}
