//! Noise levels, and the meaning of a network output at one.

use candle_core::{Result, Tensor};

use crate::schedule::PredictionType;

/// A point of the forward process: `x = alpha x_0 + sigma e`.
///
/// Variance preserving, `alpha² + sigma² = 1`, as in DDPM; or variance exploding, `alpha = 1`, as in Karras et al.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// Scale of the signal.
    pub alpha: f64,
    /// Scale of the noise.
    pub sigma: f64,
}

impl Level {
    /// `(sqrt(a_t), sqrt(1 - a_t))`.
    pub fn of(alphas_cumprod: f64) -> Self {
        Self {
            alpha: alphas_cumprod.sqrt(),
            sigma: (1. - alphas_cumprod).sqrt(),
        }
    }

    /// Variance preserving, with ratio `ratio` of noise to signal.
    pub fn preserving(ratio: f64) -> Self {
        let alpha = 1. / (1. + ratio * ratio).sqrt();
        Self {
            alpha,
            sigma: ratio * alpha,
        }
    }

    /// Variance exploding, with ratio `ratio` of noise to signal.
    pub fn exploding(ratio: f64) -> Self {
        Self {
            alpha: 1.,
            sigma: ratio,
        }
    }

    /// Half the log signal-to-noise ratio, `ln(alpha / sigma)`; infinite without noise.
    pub fn lambda(self) -> f64 {
        (self.alpha / self.sigma).ln()
    }

    /// Divisor that gives x variance 1, as in training.
    pub fn norm(self) -> f64 {
        self.alpha.hypot(self.sigma)
    }

    /// `x / norm`; a variance preserving x is unchanged.
    pub fn normalise(self, x: &Tensor) -> Result<Tensor> {
        let norm = self.norm();
        // The root of alpha² + sigma² is 1 up to rounding there.
        if (norm - 1.).abs() < 1e-9 {
            return Ok(x.clone());
        }
        x / norm
    }
}

/// The network's prediction at x: an estimate of the `x_0` and the `e` that x is mixed from.
pub struct Prediction<'a> {
    /// The quantity predicted in `output`.
    pub kind: PredictionType,
    /// The sample.
    pub x: &'a Tensor,
    /// The network's output.
    pub output: Tensor,
    /// The noise level of x.
    pub at: Level,
}

impl Prediction<'_> {
    /// The clean sample.
    pub fn x0(&self) -> Result<Tensor> {
        let Level { alpha, sigma } = self.at;
        match self.kind {
            PredictionType::Epsilon => (self.x - (&self.output * sigma)?)? / alpha,
            // v is of the normalised x, whose levels are alpha / norm and sigma / norm.
            PredictionType::VPrediction => {
                let norm = self.at.norm();
                (self.x * (alpha / (norm * norm)))? - (&self.output * (sigma / norm))?
            }
            PredictionType::Sample => Ok(self.output.clone()),
        }
    }

    /// The noise.
    pub fn e(&self) -> Result<Tensor> {
        let Level { alpha, sigma } = self.at;
        match self.kind {
            PredictionType::Epsilon => Ok(self.output.clone()),
            PredictionType::VPrediction => {
                let norm = self.at.norm();
                (self.x * (sigma / (norm * norm)))? + (&self.output * (alpha / norm))?
            }
            PredictionType::Sample => (self.x - (&self.output * alpha)?)? / sigma,
        }
    }

    /// `alpha x_0 + sigma e` at another level: DDIM's step (Song et al. 2021, Eq. 12 with eta = 0), which is also PNDM's
    /// transfer φ (Liu et al. 2022, Eq. 11).
    pub fn mix(&self, alpha: f64, sigma: f64) -> Result<Tensor> {
        (self.x0()? * alpha)? + (self.e()? * sigma)?
    }
}
