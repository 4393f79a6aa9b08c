//! DDIM.

use candle_core::{Result, Tensor};

use super::{Step, estimates};
use crate::schedule::PredictionType;

/// DDIM with eta = 0 (Song et al. 2021, Eq. 12):
/// `x_s = alpha_s x_0(x_t) + sigma_s e(x_t)`.
pub fn ddim(
    mut x: Tensor,
    steps: &[Step],
    prediction: PredictionType,
    mut network: impl FnMut(&Tensor, usize) -> Result<Tensor>,
) -> Result<Tensor> {
    for step in steps {
        let output = network(&x, step.t)?;
        let (x0, e) = estimates(prediction, &x, &output, step.from)?;
        x = ((x0 * step.to.alpha)? + (e * step.to.sigma)?)?;
    }
    Ok(x)
}
