//! Noise levels, and what a network output says at one.

use candle_core::{Result, Tensor};

use crate::schedule::PredictionType;

/// A point of the forward process: `x = alpha x_0 + sigma e`.
///
/// Variance preserving, `alpha² + sigma² = 1`, as in DDPM; or variance exploding, `alpha = 1`, as in Karras et al.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// The signal's scale.
    pub alpha: f64,
    /// The noise's.
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

    /// Variance preserving, with noise over signal `ratio`.
    pub fn preserving(ratio: f64) -> Self {
        let alpha = 1. / (1. + ratio * ratio).sqrt();
        Self {
            alpha,
            sigma: ratio * alpha,
        }
    }

    /// Variance exploding, with noise over signal `ratio`.
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

    /// What x is divided by to have variance 1, as networks were trained to see it.
    pub fn norm(self) -> f64 {
        self.alpha.hypot(self.sigma)
    }

    /// `x / norm`; a variance preserving x as it is.
    pub fn normalise(self, x: &Tensor) -> Result<Tensor> {
        let norm = self.norm();
        // The root of alpha² + sigma² is 1 up to rounding there.
        if (norm - 1.).abs() < 1e-9 {
            return Ok(x.clone());
        }
        x / norm
    }
}

/// What the network says about x: an estimate of the `x_0` and the `e` that it was mixed from.
pub struct Prediction<'a> {
    /// What `output` is.
    pub kind: PredictionType,
    /// The sample.
    pub x: &'a Tensor,
    /// The network's output.
    pub output: Tensor,
    /// Where x stands.
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

    /// `alpha x_0 + sigma e` at another level: DDIM's step (Song et al. 2021, Eq. 12 with eta = 0), which is PNDM's
    /// transfer φ too (Liu et al. 2022, Eq. 11).
    pub fn mix(&self, alpha: f64, sigma: f64) -> Result<Tensor> {
        (self.x0()? * alpha)? + (self.e()? * sigma)?
    }
}
