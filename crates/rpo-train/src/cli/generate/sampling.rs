//! How `generate` draws, where it differs from the run.

use crate::cli::numbers::finite;
use crate::runner::settings;
use crate::runner::setup::Setup;
use anyhow::Result;
use clap::Args;
use rpo_experiment::Solver;
use rpo_files::failure::{BadInput, OrBadInput};

/// Arguments of sampling; the default of each is the run's.
#[derive(Args)]
pub(super) struct SamplingArgs {
    /// Seed of the noise
    #[arg(long, default_value_t = 0)]
    pub(super) seed: u64,
    /// Solver steps; default: the run's
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    steps: Option<u32>,
    /// Scale of classifier-free guidance, 1 to 100; default: the run's
    #[arg(long, value_parser = finite)]
    guidance: Option<f64>,
    /// w_r of DCO's reward guidance, from the base to what was trained, more than 0 to 100, or none; default: the arm's
    /// recipe.reward_guidance
    #[arg(long, value_name = "SCALE", value_parser = reward)]
    reward_guidance: Option<RewardScale>,
    /// Solver: ddpm, ddim, pndm, euler, euler_karras, euler_ancestral, dpmpp_2m, dpmpp_2m_karras, scheduler; default: the run's
    #[arg(long)]
    solver: Option<String>,
    /// Negative prompt: what guidance leads away from, in place of the empty text
    #[arg(
        long,
        value_name = "PROMPT",
        default_value = "",
        hide_default_value = true
    )]
    pub(super) negative: String,
}

/// w_r, or none.
#[derive(Clone, Copy)]
struct RewardScale(Option<f64>);

fn reward(text: &str) -> Result<RewardScale, String> {
    match text {
        "none" => Ok(RewardScale(None)),
        number => finite(number).map(|scale| RewardScale(Some(scale))),
    }
}

impl SamplingArgs {
    /// Replaces what was given, of one arm.
    ///
    /// # Errors
    /// [`BadInput`] naming the argument.
    pub(super) fn apply(&self, setup: &mut Setup, arm: usize) -> Result<()> {
        if let Some(RewardScale(scale)) = self.reward_guidance {
            if let Some(scale) = scale.filter(|scale| !(*scale > 0.0 && *scale <= 100.0)) {
                return Err(BadInput::new(format!(
                    "--reward-guidance: {scale} is not above 0 and at most 100\n  hint: 3 is DCO's; none draws with the trained network alone"
                )));
            }
            setup.plan.arms[arm].recipe.reward_guidance = scale;
        }
        let sampler = &mut setup.plan.experiment.sampler;
        if let Some(name) = &self.solver {
            let parsed = serde_json::from_value::<Solver>(name.as_str().into());
            sampler.solver = parsed.or_bad_input("--solver")?;
            if sampler.solver != Solver::Ddim {
                sampler.eta = 0.0;
            }
        }
        if let Some(steps) = self.steps {
            sampler.steps = steps as usize;
        }
        if let Some(guidance) = self.guidance {
            if !(1.0..=100.0).contains(&guidance) {
                return Err(BadInput::new(format!(
                    "--guidance: {guidance} is not in 1..=100\n  hint: 1 is none, 7.5 is usual for Stable Diffusion"
                )));
            }
            sampler.guidance = guidance;
        }
        if !self.negative.trim().is_empty() && sampler.guidance == 1.0 {
            return Err(BadInput::new(
                "--negative: without guidance (1) it has no effect\n  hint: --guidance 5, or leave it away",
            ));
        }
        let config = settings::sampler(sampler);
        let planned = config
            .plan(&setup.pipeline.schedule)
            .or_bad_input("--solver, --steps")?;
        setup.plan.evaluations = planned.steps.len();
        Ok(())
    }

    /// The negative prompt, if there is one.
    ///
    /// # Errors
    /// [`BadInput`] if it has a placeholder.
    pub(super) fn negative(&self) -> Result<Option<String>> {
        let text = self.negative.trim();
        if text.contains("{}") || text.contains("{class}") || text.contains("{token}") {
            return Err(BadInput::new(
                "--negative: placeholders of prompts are not filled in here\n  hint: write the words themselves",
            ));
        }
        Ok((!text.is_empty()).then(|| text.to_owned()))
    }
}
