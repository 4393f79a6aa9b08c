//! A diffusers `scheduler_config.json`.

use candle_core::{Error, Result, bail};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::class::{self, SchedulerClass};
use super::options::{
    BetaSchedule, FinalSigmasType, InterpolationType, PredictionType, SolverType, TimestepSpacing,
    TimestepType, VarianceType,
};
use crate::config_check::{self, Neutral};
use crate::config_keys::Keys;

/// The most timesteps, and betas, accepted from a file; all known models have 1000.
const MOST_TIMESTEPS: usize = 1_000_000;

/// The relevant keys of a `scheduler_config.json`. For an absent or null key each solver uses its own default, as diffusers'
/// `from_config` does, and a solver reads only the keys of its class: others may hold anything.
#[derive(Debug, Clone, Default)]
pub struct SchedulerConfig {
    /// The class that the model was published with, if it is one of those here.
    pub class: Option<SchedulerClass>,
    /// Its name in the file.
    pub class_name: Option<String>,
    /// T; by default 1000.
    pub num_train_timesteps: Option<usize>,
    /// By default 0.0001.
    pub beta_start: Option<f64>,
    /// By default 0.02.
    pub beta_end: Option<f64>,
    /// By default linear.
    pub beta_schedule: Option<BetaSchedule>,
    /// The betas themselves, instead of the above.
    pub trained_betas: Option<Vec<f32>>,
    /// Rescales the betas so that no signal is left at T (Lin et al. 2024, Algorithm 1).
    pub rescale_betas_zero_snr: Option<bool>,
    /// By default the noise.
    pub prediction_type: Option<PredictionType>,
    /// By default leading for DDPM, DDIM and PNDM, else linspace.
    pub timestep_spacing: Option<TimestepSpacing>,
    /// Added to the timesteps of leading spacing; by default 0.
    pub steps_offset: Option<usize>,
    /// DDIM, PNDM: whether the last step ends at `a = 1`, else at `a_0`; by default DDIM yes, PNDM no.
    pub set_alpha_to_one: Option<bool>,
    /// PNDM: omits its Runge-Kutta start; by default no.
    pub skip_prk_steps: Option<bool>,
    /// DDPM: by default that of the posterior.
    pub variance_type: Option<VarianceType>,
    /// Euler, DPM-Solver++: the sigmas of Karras et al. 2022, Eq. 5; by default no.
    pub use_karras_sigmas: Option<bool>,
    /// The lowest Karras sigma before the last one; by default that of the steps or of training.
    pub sigma_min: Option<f64>,
    /// The highest Karras sigma.
    pub sigma_max: Option<f64>,
    /// Euler, DPM-Solver++: by default zero.
    pub final_sigmas_type: Option<FinalSigmasType>,
    /// Euler: by default linear.
    pub interpolation_type: Option<InterpolationType>,
    /// Euler: by default discrete.
    pub timestep_type: Option<TimestepType>,
    /// DPM-Solver++: 1 or 2; by default 2.
    pub solver_order: Option<usize>,
    /// DPM-Solver++: by default midpoint.
    pub solver_type: Option<SolverType>,
    /// DPM-Solver++: first order in the last step if there are fewer than 15 steps; by default yes.
    pub lower_order_final: Option<bool>,
    /// DPM-Solver++: first order in the last step always; by default no.
    pub euler_at_final: Option<bool>,
    /// DPM-Solver++: timesteps with a smaller `ln(alpha / sigma)` are omitted; by default none.
    pub lambda_min_clipped: Option<f64>,
    /// Whether the file belongs to a `StableDiffusionPipeline`: see `docs/schedulers.md` on `steps_offset`.
    pub stable_diffusion: bool,
    /// The file, for messages.
    pub(crate) label: String,
    refusals: Vec<Refusal>,
}

/// A value that is not supported, of a key that only some classes read.
#[derive(Debug, Clone)]
struct Refusal {
    readers: &'static [SchedulerClass],
    message: String,
}

use SchedulerClass::{
    DDIMScheduler as Ddim, DDPMScheduler as Ddpm, DPMSolverMultistepScheduler as Dpm,
    EulerDiscreteScheduler as Euler, PNDMScheduler as Pndm,
};

/// Keys whose other values would give another trajectory; these values have no effect. With the classes that read them.
const NEUTRAL_TO: &[(Neutral, &[SchedulerClass])] = &[
    (
        Neutral::only("thresholding", &["false"]),
        &[Ddpm, Ddim, Dpm],
    ),
    (
        // The last three are those of other classes.
        Neutral::only(
            "algorithm_type",
            &[
                "\"dpmsolver++\"",
                "\"deis\"",
                "\"data_prediction\"",
                "\"noise_prediction\"",
            ],
        ),
        &[Dpm],
    ),
    (
        Neutral::only("use_exponential_sigmas", &["false"]),
        &[Euler, Dpm],
    ),
    (Neutral::only("use_beta_sigmas", &["false"]), &[Euler, Dpm]),
    (Neutral::only("use_lu_lambdas", &["false"]), &[Dpm]),
];

/// Keys that describe the model, and those that have no effect on a solver here.
const NEUTRAL: &[Neutral] = &[
    // Models of flow matching.
    Neutral::only("use_flow_sigmas", &["false"]),
    Neutral::only("use_dynamic_shifting", &["false"]),
    Neutral::only("shift_terminal", &["null"]),
    // Latents are never clipped: diffusers' Stable Diffusion pipeline disables this regardless of the file.
    Neutral::any("clip_sample"),
    Neutral::any("clip_sample_range"),
    Neutral::any("dynamic_thresholding_ratio"),
    Neutral::any("sample_max_value"),
    Neutral::any("flow_shift"),
    Neutral::any("time_shift_type"),
    // Of other classes: UniPC, DPM-Solver SDE, LCM and TCD, SA-Solver.
    Neutral::any("predict_x0"),
    Neutral::any("disable_corrector"),
    Neutral::any("solver_p"),
    Neutral::any("noise_sampler_seed"),
    Neutral::any("original_inference_steps"),
    Neutral::any("timestep_scaling"),
    Neutral::any("predictor_order"),
    Neutral::any("corrector_order"),
    Neutral::any("tau_func"),
];

/// The keys of a file, and what of them is not supported.
struct Reading {
    keys: Keys,
    refusals: Vec<Refusal>,
}

impl Reading {
    /// A key that every class reads.
    fn choice<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>> {
        let Some(value) = self.keys.take(key) else {
            return Ok(None);
        };
        match serde_json::from_value(value.clone()) {
            Ok(choice) => Ok(Some(choice)),
            Err(e) => bail!("{}: {key} = {value}: {e}", self.keys.label()),
        }
    }

    fn count(&mut self, key: &str, least: usize) -> Result<Option<usize>> {
        let value = self.keys.take(key);
        value
            .map(|value| self.keys.whole(key, &value, least..=MOST_TIMESTEPS))
            .transpose()
    }

    /// A key that only `readers` read: an error is kept until one of them does.
    fn own<T>(
        &mut self,
        readers: &'static [SchedulerClass],
        read: impl FnOnce(&mut Self) -> Result<Option<T>>,
    ) -> Option<T> {
        read(self).unwrap_or_else(|e| {
            let message = e.to_string();
            self.refusals.push(Refusal { readers, message });
            None
        })
    }

    fn own_choice<T: DeserializeOwned>(
        &mut self,
        key: &str,
        readers: &'static [SchedulerClass],
    ) -> Option<T> {
        self.own(readers, |reading| reading.choice(key))
    }

    fn sigma(&mut self, key: &str) -> Option<f64> {
        // Also above 0 where solvers compute in f32.
        let fits = |sigma: f64| 0. < sigma as f32 && sigma <= 1e6;
        self.own(&[Euler, Dpm], |reading| {
            reading
                .keys
                .number(key, fits, "a number above 0 and at most 1e6, or null,")
        })
    }

    /// The betas themselves.
    fn trained_betas(&mut self) -> Result<Option<Vec<f32>>> {
        const KEY: &str = "trained_betas";
        let Some(value) = self.keys.take(KEY) else {
            return Ok(None);
        };
        let betas = match &value {
            Value::Array(betas) if (1..=MOST_TIMESTEPS).contains(&betas.len()) => betas,
            _ => bail!(
                "{}: {KEY} must be null or a list of 1 to {MOST_TIMESTEPS} numbers",
                self.keys.label()
            ),
        };
        let beta = |(i, value): (usize, &Value)| match value.as_f64().map(|beta| beta as f32) {
            Some(beta) if beta > 0. && beta < 1. => Ok(beta),
            _ => self
                .keys
                .refuse(&format!("{KEY}[{i}]"), value, "a number between 0 and 1"),
        };
        betas
            .iter()
            .enumerate()
            .map(beta)
            .collect::<Result<_>>()
            .map(Some)
    }

    /// Refuses what is left, unless it has no effect.
    fn others(&mut self) -> Result<()> {
        let label = self.keys.label();
        for (key, value) in self.keys.rest() {
            let of_some = NEUTRAL_TO.iter().find(|(neutral, _)| neutral.key() == key);
            match (of_some, NEUTRAL.iter().find(|n| n.key() == key)) {
                (Some((neutral, readers)), _) => {
                    if let Err(e) = neutral.check(label, value) {
                        let message = e.to_string();
                        self.refusals.push(Refusal { readers, message });
                    }
                }
                (_, Some(neutral)) => neutral.check(label, value)?,
                _ if config_check::is_silent(key, value) => {}
                _ => return Err(config_check::unknown(label, key, value)),
            }
        }
        Ok(())
    }
}

impl SchedulerConfig {
    /// Parses the text of a `scheduler_config.json`; `label` names it in errors.
    pub(super) fn from_json(text: &str, label: &str) -> Result<Self> {
        let mut keys = Keys::parse(text, label)?.without_nulls();
        let class_name = match keys.take("_class_name") {
            None => None,
            Some(Value::String(name)) => Some(name),
            Some(other) => return keys.refuse("_class_name", other, "the name of a class"),
        };
        let of_betas = ["beta_start", "beta_end", "beta_schedule"];
        let missing = of_betas
            .into_iter()
            .find(|key| !keys.rest().contains_key(*key));
        let missing = missing.filter(|_| !keys.rest().contains_key("trained_betas"));
        let class = match class_name.as_deref() {
            None => None,
            Some(name) => class::read(name, missing)
                .map_err(|e| Error::msg(format!("{label}: _class_name = {name:?}: {e}")))?,
        };
        let mut from = Reading {
            keys,
            refusals: Vec::new(),
        };
        // Bounds are those of the schedule that uses it.
        let beta = |from: &mut Reading, key: &str| from.keys.number(key, |_| true, "a number");
        let mut config = Self {
            class,
            class_name,
            num_train_timesteps: from.count("num_train_timesteps", 1)?,
            beta_start: beta(&mut from, "beta_start")?,
            beta_end: beta(&mut from, "beta_end")?,
            beta_schedule: from.choice("beta_schedule")?,
            trained_betas: from.trained_betas()?,
            rescale_betas_zero_snr: from.choice("rescale_betas_zero_snr")?,
            prediction_type: from.choice("prediction_type")?,
            timestep_spacing: from.choice("timestep_spacing")?,
            steps_offset: from.count("steps_offset", 0)?,
            set_alpha_to_one: from.own_choice("set_alpha_to_one", &[Ddim, Pndm]),
            skip_prk_steps: from.own_choice("skip_prk_steps", &[Pndm]),
            variance_type: variance_type(&mut from),
            use_karras_sigmas: from.own_choice("use_karras_sigmas", &[Euler, Dpm]),
            sigma_min: from.sigma("sigma_min"),
            sigma_max: from.sigma("sigma_max"),
            final_sigmas_type: from.own_choice("final_sigmas_type", &[Euler, Dpm]),
            interpolation_type: from.own_choice("interpolation_type", &[Euler]),
            timestep_type: from.own_choice("timestep_type", &[Euler]),
            solver_order: solver_order(&mut from),
            solver_type: from.own_choice("solver_type", &[Dpm]),
            lower_order_final: from.own_choice("lower_order_final", &[Dpm]),
            euler_at_final: from.own_choice("euler_at_final", &[Dpm]),
            lambda_min_clipped: lambda_min_clipped(&mut from),
            stable_diffusion: false,
            label: label.to_owned(),
            refusals: Vec::new(),
        };
        from.others()?;
        if let (Some(min), Some(max)) = (config.sigma_min, config.sigma_max)
            && min >= max
        {
            from.refusals.push(Refusal {
                readers: &[Euler, Dpm],
                message: format!("{label}: sigma_min = {min} must be below sigma_max = {max}"),
            });
        }
        config.refusals = from.refusals;
        if let (Some(n), Some(betas)) = (config.num_train_timesteps, &config.trained_betas)
            && n != betas.len()
        {
            bail!(
                "{label}: num_train_timesteps = {n}, but trained_betas has {} numbers; the two must agree",
                betas.len()
            );
        }
        Ok(config)
    }

    /// Errors on a key that this class reads and whose value is not supported.
    pub(crate) fn readable_by(&self, class: SchedulerClass) -> Result<()> {
        match self.refusals.iter().find(|r| r.readers.contains(&class)) {
            Some(refusal) => bail!("{}", refusal.message),
            None => Ok(()),
        }
    }

    /// `steps_offset` for a solver of the file's own class (`native`) or another.
    ///
    /// diffusers' `StableDiffusionPipeline` (not that of SDXL) sets it to 1 on loading; if the file does not have the key, this
    /// applies to the file's own class only, since `from_config` skips defaults.
    pub(crate) fn steps_offset(&self, native: bool) -> usize {
        match (self.steps_offset, self.stable_diffusion) {
            (Some(_), true) => 1,
            (None, true) if native => 1,
            (offset, _) => offset.unwrap_or(0),
        }
    }
}

/// Learned variances come from a network with twice the output channels, of which DPM-Solver++ takes the first half.
fn variance_type(from: &mut Reading) -> Option<VarianceType> {
    const KEY: &str = "variance_type";
    let named = from.keys.rest().get(KEY).and_then(Value::as_str);
    let learned = named.is_some_and(|name| name.starts_with("learned"));
    from.own_choice(KEY, if learned { &[Ddpm, Dpm] } else { &[Ddpm] })
}

fn solver_order(from: &mut Reading) -> Option<usize> {
    const KEY: &str = "solver_order";
    from.own(&[Dpm], |from| {
        let value = from.keys.take(KEY);
        value
            .map(|value| from.keys.whole(KEY, &value, 1..=2))
            .transpose()
    })
}

fn lambda_min_clipped(from: &mut Reading) -> Option<f64> {
    const KEY: &str = "lambda_min_clipped";
    // Python's infinity, which means no limit.
    if from.keys.rest().get(KEY).is_some_and(|v| v == "-Infinity") {
        from.keys.take(KEY);
    }
    from.own(&[Dpm], |from| {
        from.keys.number(KEY, |_| true, "a number, or -Infinity,")
    })
}
