//! DPM-Solver++(2M).

use candle_core::{Result, Tensor};

use super::{Step, estimates};
use crate::schedule::PredictionType;

/// DPM-Solver++(2M), midpoint form (Lu et al. 2022, Algorithm 2), with `h = lambda_t - lambda_s`, `r = h_last / h`:
/// `D = (1 + 1/2r) x_0 - 1/2r x_0_last`, `x_t = sigma_t / sigma_s x_s - alpha_t (exp(-h) - 1) D`.
/// The first step, and a last one that ends without noise, are first order: `D = x_0`.
pub fn dpmpp_2m(
    mut x: Tensor,
    steps: &[Step],
    prediction: PredictionType,
    mut network: impl FnMut(&Tensor, usize) -> Result<Tensor>,
) -> Result<Tensor> {
    let mut last: Option<(Tensor, f64)> = None;
    for step in steps {
        let output = network(&x, step.t)?;
        let (x0, _) = estimates(prediction, &x, &output, step.from)?;
        let h = step.to.lambda() - step.from.lambda();
        let d = match last {
            Some((x0_last, h_last)) if h.is_finite() => {
                let half_inverse_r = h / (2. * h_last);
                ((&x0 * (1. + half_inverse_r))? - (x0_last * half_inverse_r)?)?
            }
            _ => x0.clone(),
        };
        let sigmas = step.to.sigma / step.from.sigma;
        x = ((x * sigmas)? - (d * (step.to.alpha * (-h).exp_m1()))?)?;
        last = Some((x0, h));
    }
    Ok(x)
}
