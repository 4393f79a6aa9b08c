//! Whole runs of every solver against diffusers: `scripts/golden/schedulers.py`.

use crate::support::{f64s, golden_path, step_noise};
use candle_core::{Device, Result, Tensor};
use rpo_diffusion::solver::Plan;
use rpo_diffusion::{NoiseSchedule, Solver};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Case {
    name: String,
    file: Value,
    /// Whether `StableDiffusionPipeline` loaded the file.
    pipeline: bool,
    alphas_cumprod: Vec<(usize, f64)>,
    runs: Vec<Run>,
}

#[derive(Deserialize)]
struct Run {
    solver: Solver,
    eta: f64,
    steps: usize,
    t: Vec<f64>,
    input: Vec<f64>,
    end: Vec<f64>,
}

fn cases() -> Vec<Case> {
    let read = |name: &str| -> Vec<Case> {
        let text = std::fs::read_to_string(golden_path(name)).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let mut cases = read("schedulers.json");
    // Files that other scheduler classes wrote.
    cases.extend(read("schedulers_others.json"));
    cases
}

fn schedule(case: &Case) -> Result<NoiseSchedule> {
    let schedule = NoiseSchedule::from_json(&case.file.to_string(), &case.name)?;
    Ok(match case.pipeline {
        true => schedule.of_stable_diffusion(),
        false => schedule,
    })
}

/// Relative L2.
fn off(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm: f64 = b.iter().map(|b| b * b).sum();
    let off: f64 = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum();
    let off = (off / norm).sqrt();
    if off.is_nan() { f64::INFINITY } else { off }
}

#[test]
fn alphas_are_those_of_diffusers() -> Result<()> {
    for case in cases() {
        let alphas = schedule(&case)?.alphas_cumprod;
        let (last, _) = case.alphas_cumprod[case.alphas_cumprod.len() - 1];
        assert_eq!(alphas.len(), last + 1, "{}", case.name);
        for (t, expected) in case.alphas_cumprod {
            let a = alphas[t];
            assert!(
                (a - expected).abs() <= 1e-6 * expected,
                "{}: a_{t} = {a}, not {expected}",
                case.name
            );
        }
    }
    Ok(())
}

#[test]
fn runs_are_those_of_diffusers() -> Result<()> {
    let mut worst = [(0, 0., String::new()), (0, 0., String::new())];
    for case in cases() {
        let schedule = schedule(&case)?;
        for run in &case.runs {
            let label = format!(
                "{}: {:?} eta {}, {} steps",
                case.name, run.solver, run.eta, run.steps
            );
            let plan = run.solver.plan(&schedule, run.steps, run.eta)?;
            let t: Vec<f64> = plan.steps.iter().map(|s| s.t).collect();
            // Timesteps of Karras sigmas depend on the last bit of a logarithm in f32.
            let near = |(a, b): (&f64, &f64)| a == b || (b.fract() != 0. && (a - b).abs() < 1e-3);
            assert!(
                t.len() == run.t.len() && t.iter().zip(&run.t).all(near),
                "{label}: timesteps {t:?}, not {:?}",
                run.t
            );
            let (end, inputs) = made_up(&plan)?;
            let figure = off(&end, &run.end).max(off(&inputs, &run.input));
            // Starting from sigma 4096, f32 loses three digits of the final sample.
            let far = plan.init_noise_sigma > 1000.;
            // diffusers rounds the beta = 1 - a / a' of DDPM's steps in f32.
            let tolerance = match run.solver {
                _ if far => 1e-3,
                Solver::Ddpm => 3e-5,
                _ => 1e-5,
            };
            assert!(figure <= tolerance, "{label}: off by {figure:e}");
            let (count, most, which) = &mut worst[usize::from(far)];
            *count += 1;
            if figure > *most {
                (*most, *which) = (figure, label);
            }
        }
    }
    for (count, most, which) in worst {
        println!("{count} runs, the worst off by {most:.1e}: {which}");
        assert!(count > 20);
    }
    Ok(())
}

/// The end of a run of the made-up model and the first value of every input.
fn made_up(plan: &Plan) -> Result<(Vec<f64>, Vec<f64>)> {
    let x: Vec<f32> = (0..8).map(|i| -2. + i as f32 * (4. / 7.)).collect();
    let x = Tensor::from_vec(x, (1, 2, 2, 2), &Device::Cpu)?;
    let mut inputs = Vec::new();
    let mut network = |x: &Tensor, _| {
        inputs.push(f64s(x)?[0]);
        (x * 0.3)? + (x.cos()? * 0.1)?
    };
    let mut noise = |k| Tensor::from_vec(step_noise(8, k), (1, 2, 2, 2), &Device::Cpu);
    let end = plan.solve(x, &mut network, &mut noise)?;
    Ok((f64s(&end)?, inputs))
}
