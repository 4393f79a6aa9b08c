//! The plan of a solver, and its view of the network.

use candle_core::{Result, Tensor, bail};

use super::level::{Level, Prediction};
use crate::schedule::{NoiseSchedule, PredictionType};

/// One evaluation of the network, and the step that uses it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// The timestep given to the network; fractional for Euler types.
    pub t: f64,
    /// Noise level of the sample.
    pub from: Level,
    /// Noise level after the step.
    pub to: Level,
}

/// A solver's view of the network, with the noise of stochastic solvers.
pub struct Model<'a> {
    /// What the network predicts.
    pub prediction: PredictionType,
    /// The raw output, after guidance, for a sample of variance 1 at a timestep.
    pub network: &'a mut dyn FnMut(&Tensor, f64) -> Result<Tensor>,
    /// Standard normal noise of the sample's shape for the step of this index.
    pub noise: &'a mut dyn FnMut(usize) -> Result<Tensor>,
}

impl Model<'_> {
    /// One evaluation at `x`.
    pub fn predict<'a>(&mut self, x: &'a Tensor, step: &Step) -> Result<Prediction<'a>> {
        let output = (self.network)(&step.from.normalise(x)?, step.t)?;
        Ok(self.read(x, output, step.from))
    }

    /// An output, or a weighted sum of outputs, as the prediction at `x`.
    pub fn read<'a>(&self, x: &'a Tensor, output: Tensor, at: Level) -> Prediction<'a> {
        Prediction {
            kind: self.prediction,
            x,
            output,
            at,
        }
    }

    /// `x + std z` with the noise z of step `k`.
    pub fn add_noise(&mut self, x: Tensor, std: f64, k: usize) -> Result<Tensor> {
        if std == 0. {
            return Ok(x);
        }
        x + ((self.noise)(k)? * std)?
    }
}

type Run = dyn Fn(Tensor, &[Step], &mut Model<'_>) -> Result<Tensor>;

/// The steps of a solver on a model's schedule.
pub struct Plan {
    /// The evaluations of the network, noisiest first.
    pub steps: Vec<Step>,
    /// Standard deviation of the initial noise.
    pub init_noise_sigma: f64,
    prediction: PredictionType,
    run: Box<Run>,
}

impl Plan {
    /// `run(x, steps, model)` on `steps`, from standard normal noise.
    pub(super) fn new(
        schedule: &NoiseSchedule,
        steps: Vec<Step>,
        run: impl Fn(Tensor, &[Step], &mut Model<'_>) -> Result<Tensor> + 'static,
    ) -> Result<Self> {
        let prediction = schedule.prediction_type;
        if prediction == PredictionType::Epsilon && steps.iter().any(|s| s.from.alpha == 0.) {
            bail!(
                "a network that predicts the noise says nothing where all is noise, and rescale_betas_zero_snr starts there; use timestep_spacing \"leading\", or a solver that starts a little lower: euler, euler_ancestral, dpmpp_2m"
            );
        }
        Ok(Self {
            steps,
            init_noise_sigma: 1.,
            prediction,
            run: Box::new(run),
        })
    }

    /// The same, from noise of standard deviation `sigma`.
    pub(super) fn with_init_noise_sigma(mut self, sigma: f64) -> Self {
        self.init_noise_sigma = sigma;
        self
    }

    /// From standard normal `noise` to the sample. `network(x, t)` returns the raw output, after guidance, for x of variance 1;
    /// `step_noise(k)` returns standard normal noise of x's shape for step k, and is called by stochastic solvers only.
    pub fn solve(
        &self,
        noise: Tensor,
        network: &mut dyn FnMut(&Tensor, f64) -> Result<Tensor>,
        step_noise: &mut dyn FnMut(usize) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let x = match self.init_noise_sigma {
            1. => noise,
            sigma => (noise * sigma)?,
        };
        let mut model = Model {
            prediction: self.prediction,
            network,
            noise: step_noise,
        };
        (self.run)(x, &self.steps, &mut model)
    }
}
