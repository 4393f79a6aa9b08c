//! `scheduler_config.json`: the schedule, and every solver's plan on it.

use super::made::{file, model, named};
use crate::target::{Target, ensure_fault};
use rpo_diffusion::{NoiseSchedule, Solver};

const NAME: &str = "scheduler_config.json";

const SOLVERS: [Solver; 9] = [
    Solver::Scheduler,
    Solver::Ddpm,
    Solver::Ddim,
    Solver::Pndm,
    Solver::Euler,
    Solver::EulerKarras,
    Solver::EulerAncestral,
    Solver::DpmSolverPp2m,
    Solver::DpmSolverPp2mKarras,
];

pub(super) const SCHEDULE: Target = Target::new(
    "schedule",
    "a scheduler's configuration: the schedule and every solver's steps",
    || {
        let mut all = vec![file(&format!("assets/micro/scheduler/{NAME}"))?];
        for family in ["sd15", "sd21", "sdxl"] {
            all.extend(model(family)?.files.remove(&format!("scheduler/{NAME}")));
        }
        let euler = br#"{"_class_name": "EulerDiscreteScheduler", "beta_end": 0.012, "beta_schedule": "scaled_linear",
            "beta_start": 0.00085, "interpolation_type": "linear", "num_train_timesteps": 1000, "prediction_type": "v_prediction",
            "timestep_spacing": "trailing", "use_karras_sigmas": true, "sigma_min": 0.03, "sigma_max": 14.6,
            "final_sigmas_type": "zero", "steps_offset": 1, "timestep_type": "continuous"}"#;
        let solver = br#"{"_class_name": "DPMSolverMultistepScheduler", "trained_betas": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
            "solver_order": 2, "solver_type": "heun", "lower_order_final": true, "euler_at_final": false, "lambda_min_clipped": -5.1,
            "rescale_betas_zero_snr": true, "num_train_timesteps": 6}"#;
        Ok(named(
            NAME,
            all.into_iter().chain([euler.to_vec(), solver.to_vec()]),
        ))
    },
    |folder| {
        let schedule = NoiseSchedule::load(&folder.join(NAME))?.of_stable_diffusion();
        let within = |a: &f64| (0. ..=1.).contains(a);
        ensure_fault(schedule.alphas_cumprod.iter().all(within), || {
            "alphas outside [0, 1]".into()
        })?;
        let t = schedule.num_train_timesteps() as f64;
        for solver in SOLVERS {
            for steps in [1, 2, 5, 20] {
                // A class that a schedule does not support is refused later, by name.
                let Ok(plan) = solver.plan(&schedule, steps, 0.) else {
                    continue;
                };
                let known =
                    |s: &rpo_diffusion::solver::Step| s.t.is_finite() && s.t < t.max(1.) * 4.;
                ensure_fault(plan.steps.iter().all(known), || {
                    format!(
                        "{solver:?}, {steps} steps: {:?}",
                        plan.steps.iter().find(|s| !known(s))
                    )
                })?;
            }
        }
        Ok(())
    },
);
