//! The noise schedule in training, and its file.

mod support;

use candle_core::Result;
use rpo_diffusion::{NoiseSchedule, PredictionType, Solver};
use support::{Golden, assert_close, f64s, micro_schedule};

#[test]
fn alphas_of_the_micro_model_are_those_of_diffusers() -> Result<()> {
    let expected = Golden::load("micro")?.f64s("alphas_cumprod")?;
    let schedule = micro_schedule()?;
    assert_eq!(schedule.num_train_timesteps(), expected.len());
    for (a, b) in schedule.alphas_cumprod.iter().zip(&expected) {
        assert!((a - b).abs() <= 1e-6 * b, "{a} and {b}");
    }
    Ok(())
}

#[test]
fn noise_and_velocity_per_sample() -> Result<()> {
    let golden = Golden::load("micro")?;
    let schedule = micro_schedule()?;
    let t = golden.timesteps("train.t")?;
    let (x0, noise) = (golden.nhwc("train.x0")?, golden.nhwc("train.noise")?);
    let x_t = schedule.add_noise(&x0, &noise, &t)?;
    assert_close("x_t", &x_t, &golden.nhwc("train.x_t")?, 1e-6);
    assert_eq!(f64s(&schedule.target(&x0, &noise, &t)?)?, f64s(&noise)?);

    let tiny = Golden::load("tiny_linear")?;
    let mut schedule = schedule;
    schedule.prediction_type = PredictionType::VPrediction;
    let (x0, noise, t) = (tiny.nhwc("x0")?, tiny.nhwc("noise")?, tiny.timesteps("t")?);
    assert_close(
        "velocity",
        &schedule.target(&x0, &noise, &t)?,
        &tiny.nhwc("target")?,
        1e-6,
    );

    schedule.prediction_type = PredictionType::Sample;
    assert_eq!(f64s(&schedule.target(&x0, &noise, &t)?)?, f64s(&x0)?);

    assert!(schedule.add_noise(&x0, &noise, &[1]).is_err());
    let beyond = schedule.add_noise(&x0, &noise, &[1, 2, 1000]).unwrap_err();
    assert!(beyond.to_string().contains("timestep 1000"), "{beyond}");
    Ok(())
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let refusal = |text: &str| match NoiseSchedule::from_json(text, "scheduler_config.json") {
        Ok(_) => panic!("{text} was accepted"),
        Err(e) => e.to_string(),
    };
    for (text, word) in [
        (
            r#"{"prediction_type": "flow_prediction"}"#,
            "flow_prediction",
        ),
        (
            r#"{"_class_name": "UniPCMultistepScheduler"}"#,
            "UniPCMultistepScheduler",
        ),
        (r#"{"beta_schedule": "sigmoid"}"#, "sigmoid"),
        (r#"{"variance_type": "learned_range"}"#, "learned_range"),
        (r#"{"variance_type": "fixed_large_log"}"#, "fixed_large_log"),
        (
            r#"{"algorithm_type": "sde-dpmsolver++"}"#,
            "sde-dpmsolver++",
        ),
        (
            r#"{"use_exponential_sigmas": true}"#,
            "use_exponential_sigmas",
        ),
        (r#"{"thresholding": true}"#, "thresholding"),
        (r#"{"interpolation_type": "cubic"}"#, "cubic"),
        (r#"{"final_sigmas_type": "one"}"#, "one"),
        (r#"{"solver_order": 3}"#, "solver_order"),
        (r#"{"a_new_key": 1}"#, "a_new_key"),
        (r#"{"timestep_spacing": "sideways"}"#, "sideways"),
        (r#"{"trained_betas": [0.1, 1.5]}"#, "betas"),
        (r#"{"num_train_timesteps": 0}"#, "betas"),
        (
            r#"{"num_train_timesteps": 1000000000000}"#,
            "num_train_timesteps",
        ),
        (
            r#"{"num_train_timesteps": 3, "trained_betas": [0.1, 0.5]}"#,
            "trained_betas has 2",
        ),
        (r#"{"sigma_min": 0}"#, "sigma_min"),
        (
            r#"{"num_train_timesteps": 1, "rescale_betas_zero_snr": true}"#,
            "rescale_betas_zero_snr",
        ),
        (r#"{"beta_start": "low"}"#, "low"),
    ] {
        let message = refusal(text);
        assert!(
            message.contains(word) && message.contains("scheduler_config.json"),
            "{message}"
        );
    }
}

#[test]
fn a_plan_that_cannot_be_is_refused_with_the_hint() {
    let schedule = |text: &str| NoiseSchedule::from_json(text, "x").unwrap();
    let zero = r#"{"rescale_betas_zero_snr": true, "timestep_spacing": "trailing"}"#;
    for (text, solver, steps, eta, words) in [
        ("{}", Solver::Scheduler, 5, 0., ["_class_name", "ddim"]),
        ("{}", Solver::Ddim, 0, 0., ["0 solver steps", "at least 1"]),
        ("{}", Solver::Ddim, 1001, 0., ["1001 solver steps", "1000"]),
        ("{}", Solver::Ddim, 5, 1.5, ["eta 1.5", "0..=1"]),
        ("{}", Solver::Euler, 5, 0.5, ["eta 0.5", "ddim"]),
        ("{}", Solver::DpmSolverPp2m, 1000, 0., ["1000", "fewer"]),
        ("{}", Solver::Pndm, 3, 0., ["skip_prk_steps", "4 steps"]),
        (
            zero,
            Solver::Pndm,
            5,
            0.,
            ["rescale_betas_zero_snr", "ddim"],
        ),
        (zero, Solver::Ddim, 5, 0., ["all is noise", "leading"]),
        (zero, Solver::Ddpm, 5, 0., ["all is noise", "euler"]),
        (
            r#"{"prediction_type": "sample"}"#,
            Solver::Pndm,
            5,
            0.,
            ["sample", "ddim"],
        ),
        (
            r#"{"prediction_type": "sample"}"#,
            Solver::EulerAncestral,
            5,
            0.,
            ["sample", "euler"],
        ),
        (
            r#"{"steps_offset": 1}"#,
            Solver::Ddim,
            1000,
            0.,
            ["1000 solver steps", "steps_offset"],
        ),
        (
            r#"{"lambda_min_clipped": 100.0}"#,
            Solver::DpmSolverPp2m,
            5,
            0.,
            ["fewer", "0"],
        ),
    ] {
        let message = match solver.plan(&schedule(text), steps, eta) {
            Ok(_) => panic!("{text}: {solver:?} planned {steps} steps with eta {eta}"),
            Err(e) => e.to_string(),
        };
        for word in words {
            assert!(message.contains(word), "{text}, {solver:?}: {message}");
        }
    }
    let fine =
        r#"{"trained_betas": [0.1, 0.5], "lambda_min_clipped": -Infinity, "clip_sample": true}"#;
    let schedule = schedule(fine);
    assert_eq!(schedule.num_train_timesteps(), 2);
    assert!(Solver::Ddim.plan(&schedule, 2, 0.).is_ok());
    assert!(Solver::DpmSolverPp2m.plan(&schedule, 1, 0.).is_ok());
}

/// From `diffusers.training_utils.compute_snr` of diffusers 0.42.1 on the micro model's DDIMScheduler, with γ = 5:
/// `minimum(snr, 5) / snr`, and `/ (snr + 1)` for the velocity, as its training scripts weight the error.
#[test]
fn min_snr_weights_are_those_of_diffusers() -> Result<()> {
    const AT: [usize; 5] = [0, 100, 300, 600, 999];
    const EPSILON: [f64; 5] = [0.0042537241, 0.5914453864, 1., 1., 1.];
    const VELOCITY: [f64; 5] = [
        0.0042501087,
        0.5288841724,
        0.5905008316,
        0.1607824713,
        0.0046600942,
    ];
    let mut schedule = micro_schedule()?;
    let close = |schedule: &NoiseSchedule, expected: [f64; 5]| {
        let weights = schedule.min_snr_weights(5.);
        assert_eq!(weights.len(), schedule.num_train_timesteps());
        for (t, w) in AT.into_iter().zip(expected) {
            assert!(
                (weights[t] - w).abs() <= 1e-5 * w,
                "{t}: {} and {w}",
                weights[t]
            );
        }
    };
    close(&schedule, EPSILON);
    schedule.prediction_type = PredictionType::VPrediction;
    close(&schedule, VELOCITY);
    Ok(())
}
