//! The noise schedule in training, and its file.

use crate::support::{Golden, assert_close, f64s, micro_schedule};
use candle_core::Result;
use rpo_diffusion::{NoiseSchedule, PredictionType, Solver};

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

fn refusal(text: &str) -> String {
    match NoiseSchedule::from_json(text, "scheduler_config.json") {
        Ok(_) => panic!("{text} was accepted"),
        Err(e) => e.to_string(),
    }
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let many = format!("{{\"trained_betas\": [{}0.1]}}", "0.1,".repeat(1_000_000));
    for (text, word) in [
        (
            r#"{"prediction_type": "flow_prediction"}"#,
            "flow_prediction",
        ),
        (r#"{"beta_schedule": "sigmoid"}"#, "sigmoid"),
        (r#"{"a_new_key": 1}"#, "a_new_key"),
        (r#"{"use_flow_sigmas": true}"#, "use_flow_sigmas"),
        (r#"{"use_dynamic_shifting": true}"#, "use_dynamic_shifting"),
        (r#"{"shift_terminal": 0.1}"#, "shift_terminal"),
        (r#"{"timestep_spacing": "sideways"}"#, "sideways"),
        (r#"{"rescale_betas_zero_snr": 1}"#, "rescale_betas_zero_snr"),
        (r#"{"trained_betas": [0.1, 1.5]}"#, "trained_betas[1] = 1.5"),
        (
            r#"{"trained_betas": [NaN, 0.5]}"#,
            "trained_betas[0] = \"NaN\"",
        ),
        (r#"{"trained_betas": [0.1, 0]}"#, "trained_betas[1] = 0"),
        (
            r#"{"trained_betas": [0.1, 0.99999999999]}"#,
            "trained_betas[1]",
        ),
        (r#"{"trained_betas": []}"#, "trained_betas"),
        (r#"{"trained_betas": 0.1}"#, "trained_betas"),
        (&many, "trained_betas"),
        (r#"{"num_train_timesteps": 0}"#, "num_train_timesteps = 0"),
        (r#"{"num_train_timesteps": -5}"#, "num_train_timesteps = -5"),
        (r#"{"num_train_timesteps": 1.5}"#, "num_train_timesteps"),
        (
            r#"{"num_train_timesteps": 1000000000000}"#,
            "num_train_timesteps",
        ),
        (r#"{"steps_offset": 18446744073709551615}"#, "steps_offset"),
        (r#"{"steps_offset": -1}"#, "steps_offset"),
        (
            r#"{"num_train_timesteps": 3, "trained_betas": [0.1, 0.5]}"#,
            "trained_betas has 2",
        ),
        (
            r#"{"num_train_timesteps": 1, "rescale_betas_zero_snr": true}"#,
            "rescale_betas_zero_snr",
        ),
        (r#"{"beta_start": "low"}"#, "low"),
        (r#"{"beta_start": NaN}"#, "beta_start = \"NaN\""),
        (r#"{"beta_end": Infinity}"#, "beta_end = \"Infinity\""),
        (r#"{"beta_start": -0.1}"#, "beta_start = -0.1"),
        (r#"{"beta_start": 0}"#, "beta_start = 0"),
        (r#"{"beta_end": 1}"#, "beta_end = 1"),
        (r#"{"beta_start": 1e-50}"#, "beta_start"),
        (
            r#"{"beta_start": 0.02, "beta_end": 0.001}"#,
            "must not be above beta_end",
        ),
        (
            r#"{"beta_start": 0.5, "beta_end": 0.9}"#,
            "must be between 0 and 1",
        ),
        (
            r#"{"beta_start": 1e-12, "beta_end": 1e-11}"#,
            "must be between 0 and 1",
        ),
        (r#"{"_class_name": 3}"#, "_class_name = 3"),
        (r#"[]"#, "no JSON object"),
    ] {
        let message = refusal(text);
        assert!(
            message.contains(word) && message.contains("scheduler_config.json"),
            "{message}"
        );
    }
}

/// As diffusers' `from_config`, a solver looks only at the keys of its class.
#[test]
fn keys_are_refused_by_the_solvers_that_read_them() {
    use Solver::{Ddim, Ddpm, DpmSolverPp2m, Euler, EulerAncestral, Pndm};
    let all = [Ddpm, Ddim, Pndm, Euler, EulerAncestral, DpmSolverPp2m];
    for (key, value, readers) in [
        (
            "variance_type",
            r#""learned_range""#,
            vec![Ddpm, DpmSolverPp2m],
        ),
        ("variance_type", r#""fixed_large_log""#, vec![Ddpm]),
        (
            "algorithm_type",
            r#""sde-dpmsolver++""#,
            vec![DpmSolverPp2m],
        ),
        ("algorithm_type", r#""dpmsolver""#, vec![DpmSolverPp2m]),
        ("use_exponential_sigmas", "true", vec![Euler, DpmSolverPp2m]),
        ("use_beta_sigmas", "true", vec![Euler, DpmSolverPp2m]),
        ("use_lu_lambdas", "true", vec![DpmSolverPp2m]),
        ("thresholding", "true", vec![Ddpm, Ddim, DpmSolverPp2m]),
        ("interpolation_type", r#""cubic""#, vec![Euler]),
        ("timestep_type", "7", vec![Euler]),
        ("final_sigmas_type", r#""one""#, vec![Euler, DpmSolverPp2m]),
        ("solver_order", "3", vec![DpmSolverPp2m]),
        ("solver_type", r#""euler""#, vec![DpmSolverPp2m]),
        ("lambda_min_clipped", "NaN", vec![DpmSolverPp2m]),
        ("sigma_min", "0", vec![Euler, DpmSolverPp2m]),
        ("sigma_max", "Infinity", vec![Euler, DpmSolverPp2m]),
        ("sigma_max", "true", vec![Euler, DpmSolverPp2m]),
        ("set_alpha_to_one", r#""yes""#, vec![Ddim, Pndm]),
        ("skip_prk_steps", "1", vec![Pndm]),
    ] {
        let text = format!(r#"{{"{key}": {value}}}"#);
        let schedule = NoiseSchedule::from_json(&text, "scheduler_config.json").unwrap();
        for solver in all {
            match solver.plan(&schedule, 5, 0.) {
                Ok(_) => assert!(!readers.contains(&solver), "{solver:?} accepted {text}"),
                Err(e) => {
                    let message = e.to_string();
                    assert!(readers.contains(&solver), "{text}, {solver:?}: {message}");
                    let file = message.contains("scheduler_config.json");
                    assert!(file && message.contains(key), "{message}");
                }
            }
        }
    }
    let both = r#"{"sigma_min": 3, "sigma_max": 2}"#;
    let schedule = NoiseSchedule::from_json(both, "x").unwrap();
    let message = Euler.plan(&schedule, 5, 0.).err().unwrap().to_string();
    assert!(
        message.contains("sigma_min = 3 must be below sigma_max = 2"),
        "{message}"
    );
}

#[test]
fn files_of_other_classes_are_read_by_named_solvers() {
    let betas = r#""beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear""#;
    for class in [
        "UniPCMultistepScheduler",
        "DEISMultistepScheduler",
        "HeunDiscreteScheduler",
        "LCMScheduler",
        "SomebodysOwnScheduler",
    ] {
        let text =
            format!(r#"{{"_class_name": "{class}", {betas}, "prediction_type": "v_prediction"}}"#);
        let schedule = NoiseSchedule::from_json(&text, "scheduler_config.json").unwrap();
        assert_eq!(schedule.prediction_type, PredictionType::VPrediction);
        assert!((schedule.alphas_cumprod[999] - 0.00466009509).abs() < 1e-8);
        assert!(Solver::DpmSolverPp2m.plan(&schedule, 5, 0.).is_ok());
        let message = Solver::Scheduler
            .plan(&schedule, 5, 0.)
            .err()
            .unwrap()
            .to_string();
        for word in ["scheduler_config.json", class, "hint", "dpmpp_2m"] {
            assert!(message.contains(word), "no {word:?} in: {message}");
        }
    }
    // Without betas a file says less than its class means.
    for class in [
        "HeunDiscreteScheduler",
        "TCDScheduler",
        "SomebodysOwnScheduler",
    ] {
        let message = refusal(&format!(
            r#"{{"_class_name": "{class}", "beta_start": 0.1, "beta_end": 0.2}}"#
        ));
        assert!(
            message.contains(class) && message.contains("without beta_schedule"),
            "{message}"
        );
    }
    let same = NoiseSchedule::from_json(r#"{"_class_name": "UniPCMultistepScheduler"}"#, "x");
    assert!((same.unwrap().alphas_cumprod[0] - 0.9999).abs() < 1e-6);
    // Models of another kind.
    for class in [
        "FlowMatchEulerDiscreteScheduler",
        "EDMDPMSolverMultistepScheduler",
        "EDMEulerScheduler",
    ] {
        let message = refusal(&format!(r#"{{"_class_name": "{class}", {betas}}}"#));
        assert!(
            message.contains(class) && message.contains("flow matching"),
            "{message}"
        );
    }
    let cog =
        format!(r#"{{"_class_name": "CogVideoXDDIMScheduler", {betas}, "snr_shift_scale": 3.0}}"#);
    assert!(refusal(&cog).contains("snr_shift_scale"));
    for (class, solver) in [
        ("DDIMParallelScheduler", Solver::Ddim),
        ("DDPMParallelScheduler", Solver::Ddpm),
    ] {
        let schedule =
            NoiseSchedule::from_json(&format!(r#"{{"_class_name": "{class}", {betas}}}"#), "x")
                .unwrap();
        assert_eq!(Solver::Scheduler.title(&schedule), solver.title(&schedule));
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
        (
            "{}",
            Solver::DpmSolverPp2mKarras,
            usize::MAX,
            0.,
            ["solver steps", "1000"],
        ),
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
