//! Solvers, from noise to latents. Each file has one: its plan of steps on a model's schedule, as diffusers' scheduler class
//! makes it, and the method itself, a plain function from noise to sample.
//!
//! To add one: a file with these two, and its lines in [`Solver`].

mod ddim;
mod ddpm;
mod dpmpp_2m;
mod euler;
mod euler_ancestral;
mod level;
mod plan;
mod pndm;
mod sigmas;
mod spacing;

use candle_core::{Result, bail};

use crate::schedule::{self, NoiseSchedule, SchedulerClass};

pub use ddim::ddim;
pub use ddpm::ddpm;
pub use dpmpp_2m::{Order, dpmpp_2m};
pub use euler::euler;
pub use euler_ancestral::euler_ancestral;
pub use level::{Level, Prediction};
pub use plan::{Model, Plan, Step};
pub use pndm::{plms, prk};

/// A solver. Each behaves as diffusers' class built `from_config` of the model's `scheduler_config.json`: it reads the keys
/// of that file that its class has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Solver {
    /// The class that `scheduler_config.json` names, with all keys of that file.
    Scheduler,
    /// DDPM's ancestral sampling; meant for many steps.
    Ddpm,
    /// DDIM: first order; with eta > 0 stochastic.
    Ddim,
    /// PNDM: fourth-order linear multistep; one evaluation more than steps; the published sampler of Stable Diffusion 1.
    Pndm,
    /// Euler: first order.
    Euler,
    /// Euler with Karras sigmas.
    EulerKarras,
    /// Euler with fresh noise in every step.
    EulerAncestral,
    /// DPM-Solver++(2M): second order, one network evaluation per step.
    #[serde(rename = "dpmpp_2m")]
    DpmSolverPp2m,
    /// DPM-Solver++(2M) with Karras sigmas.
    #[serde(rename = "dpmpp_2m_karras")]
    DpmSolverPp2mKarras,
}

/// Options of a solver's plan besides schedule and number of steps.
#[derive(Debug, Clone, Copy)]
struct Options {
    /// DDIM's eta.
    eta: f64,
    /// Whether Karras sigmas are used.
    karras: bool,
    /// Added to the timesteps of leading spacing.
    steps_offset: usize,
}

impl Solver {
    /// Its name on a model in reports.
    pub fn title(self, schedule: &NoiseSchedule) -> String {
        use SchedulerClass as C;
        let sigmas = match self.karras(schedule) {
            true => " with Karras sigmas",
            false => "",
        };
        match self.class(schedule) {
            Ok(C::DDPMScheduler) => "DDPM".into(),
            Ok(C::DDIMScheduler) => "DDIM".into(),
            Ok(C::PNDMScheduler) => "PNDM".into(),
            Ok(C::EulerAncestralDiscreteScheduler) => "Euler ancestral".into(),
            Ok(C::EulerDiscreteScheduler) => format!("Euler{sigmas}"),
            Ok(C::DPMSolverMultistepScheduler) => format!("DPM-Solver++ 2M{sigmas}"),
            Err(_) => "the model's scheduler".into(),
        }
    }

    fn karras(self, schedule: &NoiseSchedule) -> bool {
        matches!(self, Self::EulerKarras | Self::DpmSolverPp2mKarras)
            || schedule.config.use_karras_sigmas == Some(true)
    }

    /// The diffusers class that it corresponds to on a model.
    fn class(self, schedule: &NoiseSchedule) -> Result<SchedulerClass> {
        use SchedulerClass as C;
        Ok(match self {
            Self::Scheduler => match (schedule.config.class, &schedule.config.class_name) {
                (Some(class), _) => class,
                (None, Some(name)) => {
                    bail!("{}: {}", schedule.config.label, schedule::absent(name))
                }
                (None, None) => bail!(
                    "the model's scheduler_config.json has no _class_name, so solver \"scheduler\" says nothing; name a solver, for example \"ddim\""
                ),
            },
            Self::Ddpm => C::DDPMScheduler,
            Self::Ddim => C::DDIMScheduler,
            Self::Pndm => C::PNDMScheduler,
            Self::Euler | Self::EulerKarras => C::EulerDiscreteScheduler,
            Self::EulerAncestral => C::EulerAncestralDiscreteScheduler,
            Self::DpmSolverPp2m | Self::DpmSolverPp2mKarras => C::DPMSolverMultistepScheduler,
        })
    }

    /// The plan of `steps` solver steps on a model's schedule. `eta` scales the noise of DDIM's steps, in \[0, 1\], and
    /// is 0 for all others.
    ///
    /// Errors if class and schedule do not support it; the message says what is supported.
    pub fn plan(self, schedule: &NoiseSchedule, steps: usize, eta: f64) -> Result<Plan> {
        use SchedulerClass as C;
        let class = self.class(schedule)?;
        schedule.config.readable_by(class)?;
        let train = schedule.num_train_timesteps();
        if steps == 0 {
            bail!("0 solver steps: at least 1 is needed");
        }
        if steps > train {
            bail!("{steps} solver steps: at most the {train} training timesteps are possible");
        }
        if !(0. ..=1.).contains(&eta) || (eta > 0. && class != C::DDIMScheduler) {
            bail!("eta {eta}: it must be in 0..=1, and 0 unless the solver is ddim");
        }
        let native = self == Self::Scheduler;
        let options = Options {
            eta,
            karras: self.karras(schedule),
            steps_offset: schedule.config.steps_offset(native),
        };
        match class {
            C::DDPMScheduler => ddpm::plan(schedule, steps, options),
            C::DDIMScheduler => ddim::plan(schedule, steps, options),
            C::PNDMScheduler => pndm::plan(schedule, steps, options),
            C::EulerDiscreteScheduler => euler::plan(schedule, steps, options),
            C::EulerAncestralDiscreteScheduler => euler_ancestral::plan(schedule, steps, options),
            C::DPMSolverMultistepScheduler => dpmpp_2m::plan(schedule, steps, options),
        }
    }
}
