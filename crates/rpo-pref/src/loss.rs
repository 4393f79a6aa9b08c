//! The losses as candle operations on tensors of one number a sample, shape `[B]`.
//!
//! The networks' side of the graph ends in per-sample squared errors; what follows here is a handful of
//! operations on B numbers, differentiable in every argument that is tracked.

use candle_core::{Result, Tensor, bail};
use serde::{Deserialize, Serialize};

/// What `||·||²` means over the C · H · W numbers of a prediction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// Their sum, as printed in the paper.
    Sum,
    /// Their mean, as in the official code: ℓ is 1 / (C · H · W) of the sum's.
    Mean,
}

impl Norm {
    /// Per-sample squared errors by this norm from mean squared errors `[B]` over `elements` = C · H · W numbers.
    ///
    /// # Errors
    /// Those of candle.
    pub fn of_mean_squares(self, mean_squares: &Tensor, elements: usize) -> Result<Tensor> {
        match self {
            Norm::Sum => mean_squares.affine(elements as f64, 0.0),
            Norm::Mean => Ok(mean_squares.clone()),
        }
    }
}

/// ℓ of Eq. 8, `[B]`: `(base_ref - theta_ref) - (base_gen - theta_gen)`, each a per-sample squared error.
///
/// Positive where training has improved the reference more than the generated picture.
///
/// # Errors
/// Shapes that are not all the same `[B]`.
pub fn ell(
    base_ref: &Tensor,
    theta_ref: &Tensor,
    base_gen: &Tensor,
    theta_gen: &Tensor,
) -> Result<Tensor> {
    for (name, tensor) in [
        ("theta_ref", theta_ref),
        ("base_gen", base_gen),
        ("theta_gen", theta_gen),
    ] {
        same_samples("base_ref", base_ref, name, tensor)?;
    }
    (base_ref - theta_ref)? - (base_gen - theta_gen)?
}

/// L_pref of Eq. 8, a scalar: the mean over samples of `-[y log σ(βℓ) + (1 - y) log σ(-βℓ)]`.
///
/// `ell` `[B]`, `labels` `[B]` in `[0, 1]`. Its derivative in `ell` is `β (σ(βℓ) - y) / B`. Finite for every finite βℓ.
///
/// # Errors
/// Shapes that are not the same `[B]`.
pub fn l_pref(ell: &Tensor, labels: &Tensor, beta: f64) -> Result<Tensor> {
    same_samples("ell", ell, "labels", labels)?;
    let z = ell.affine(beta, 0.0)?;
    let if_preferred = (labels * softplus(&z.neg()?)?)?;
    let if_not = (labels.affine(-1.0, 1.0)? * softplus(&z)?)?;
    (if_preferred + if_not)?.mean_all()
}

/// L_sim of Eq. 7, a scalar: the mean over samples of the squared errors `[B]` on the references.
///
/// # Errors
/// Those of candle.
pub fn l_sim(squared_errors: &Tensor) -> Result<Tensor> {
    squared_errors.mean_all()
}

/// One scalar loss with its weight in the sum.
#[derive(Clone, Copy, Debug)]
pub struct Term<'a> {
    /// The loss, a scalar.
    pub loss: &'a Tensor,
    /// Its weight.
    pub weight: f64,
}

/// `Σ weight · loss` (Eq. 9 with weights 1 and 1: L = L_sim + L_pref). Terms of weight 0 leave the graph.
///
/// # Errors
/// No term of non-zero weight, or a loss that is no scalar.
pub fn total(terms: &[Term<'_>]) -> Result<Tensor> {
    let mut sum: Option<Tensor> = None;
    for Term { loss, weight } in terms.iter().filter(|term| term.weight != 0.0) {
        if loss.rank() != 0 {
            bail!(
                "a loss of shape {:?} cannot enter the sum: each must be a scalar",
                loss.shape()
            );
        }
        let weighted = if *weight == 1.0 {
            (*loss).clone()
        } else {
            loss.affine(*weight, 0.0)?
        };
        sum = Some(match sum {
            None => weighted,
            Some(sum) => (sum + weighted)?,
        });
    }
    match sum {
        Some(sum) => Ok(sum),
        None => bail!("every loss has weight 0: nothing would be trained"),
    }
}

/// `log(1 + exp(z)) = max(z, 0) + log(1 + exp(-|z|))`.
///
/// `-|z|` is written `z - 2 max(z, 0)`: candle's `maximum` halves its gradient at a tie, so the slope at 0, where
/// every training starts (the trained model is the base model, so ℓ = 0), is 1/2 without two kinks having to cancel.
fn softplus(z: &Tensor) -> Result<Tensor> {
    let positive = z.maximum(&z.zeros_like()?)?;
    let minus_abs = (z - positive.affine(2.0, 0.0)?)?;
    positive + minus_abs.exp()?.affine(1.0, 1.0)?.log()?
}

fn same_samples(name: &str, tensor: &Tensor, other_name: &str, other: &Tensor) -> Result<()> {
    if tensor.rank() != 1 || tensor.dims() != other.dims() {
        bail!(
            "{name} has shape {:?} and {other_name} {:?}: both must hold one number a sample, [B]",
            tensor.shape(),
            other.shape()
        );
    }
    Ok(())
}
