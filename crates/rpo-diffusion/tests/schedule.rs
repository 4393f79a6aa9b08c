//! Schedules and solvers against diffusers.

mod support;

use candle_core::{Device, Result, Tensor};
use rpo_diffusion::{NoiseSchedule, PredictionType, Solver};
use serde_json::{Map, Value};
use support::{Golden, assert_close, f64s, golden_path, micro_schedule};

fn configs() -> Map<String, Value> {
    let text = std::fs::read_to_string(golden_path("schedules.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn assert_alphas(name: &str, schedule: &NoiseSchedule, expected: &[f64]) {
    assert_eq!(schedule.num_train_timesteps(), expected.len(), "{name}");
    let off = schedule
        .alphas_cumprod
        .iter()
        .zip(expected)
        .map(|(a, b)| ((a - b) / b).abs());
    let worst = off.fold(0., f64::max);
    println!("{name}: alphas off by {worst:.1e}");
    assert!(worst <= 1e-6, "{name}: alphas off by {worst:e}");
}

#[test]
fn alphas_are_those_of_diffusers() -> Result<()> {
    let golden = Golden::load("schedules")?;
    for (name, config) in configs() {
        let schedule = NoiseSchedule::from_json(&config.to_string(), &name)?;
        assert_alphas(
            &name,
            &schedule,
            &golden.f64s(&format!("{name}.alphas_cumprod"))?,
        );
    }
    let expected = Golden::load("micro")?.f64s("alphas_cumprod")?;
    assert_alphas("micro", &micro_schedule()?, &expected);
    Ok(())
}

/// Every coefficient of every solver step, by integrating a made-up model.
#[test]
fn solver_runs_are_those_of_diffusers() -> Result<()> {
    let golden = Golden::load("schedules")?;
    for (name, config) in configs() {
        let schedule = NoiseSchedule::from_json(&config.to_string(), &name)?;
        for (solver, label) in [(Solver::Ddim, "ddim"), (Solver::DpmSolverPp2m, "dpmpp")] {
            for count in [7, 20] {
                let key = format!("{name}.{label}.{count}");
                let steps = solver.steps(&schedule, count)?;
                let timesteps: Vec<usize> = steps.iter().map(|s| s.t).collect();
                assert_eq!(timesteps, golden.timesteps(&key)?, "{key}");
                let expected = golden.raw(&format!("{key}.run"))?;
                let x: Vec<f32> = (0..8).map(|i| -2. + i as f32 * (4. / 7.)).collect();
                let x = Tensor::from_vec(x, expected.shape(), &Device::Cpu)?;
                let network = |x: &Tensor, _| (x * 0.3)? + (x.cos()? * 0.1)?;
                let end = solver.solve(x, &steps, schedule.prediction_type, network)?;
                assert_close(&key, &end, &expected, 1e-5);
            }
        }
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
        (r#"{"prediction_type": "sample"}"#, "prediction_type"),
        (
            r#"{"_class_name": "EulerDiscreteScheduler"}"#,
            "EulerDiscreteScheduler",
        ),
        (r#"{"beta_schedule": "sigmoid"}"#, "sigmoid"),
        (
            r#"{"rescale_betas_zero_snr": true}"#,
            "rescale_betas_zero_snr",
        ),
        (r#"{"use_karras_sigmas": true}"#, "use_karras_sigmas"),
        (r#"{"solver_order": 3}"#, "solver_order"),
        (r#"{"a_new_key": 1}"#, "a_new_key"),
        (r#"{"timestep_spacing": "sideways"}"#, "sideways"),
        (r#"{"trained_betas": [0.1, 1.5]}"#, "betas"),
        (r#"{"num_train_timesteps": 0}"#, "betas"),
        (r#"{"beta_start": "low"}"#, "low"),
    ] {
        let message = refusal(text);
        assert!(
            message.contains(word) && message.contains("scheduler_config.json"),
            "{message}"
        );
    }
    let fine =
        r#"{"trained_betas": [0.1, 0.5], "lambda_min_clipped": -Infinity, "clip_sample": true}"#;
    let schedule = NoiseSchedule::from_json(fine, "x").unwrap();
    assert_eq!(schedule.num_train_timesteps(), 2);
    assert!(Solver::Ddim.steps(&schedule, 0).is_err());
    assert!(Solver::Ddim.steps(&schedule, 2).is_err());
    assert!(Solver::DpmSolverPp2m.steps(&schedule, 1).is_ok());
}
