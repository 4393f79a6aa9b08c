//! Whole sampling runs of the embedded model against diffusers.

use crate::support::{Golden, assert_close, micro_schedule, micro_unet, step_noise};
use candle_core::{Result, Tensor};
use rpo_diffusion::{Conditioning, SamplerConfig, Solver, UNet2DConditionModel, sample};
use rpo_nn::weights::Params;

fn unet() -> Result<UNet2DConditionModel> {
    let (config, params) = micro_unet(false)?;
    UNet2DConditionModel::new(&config, &params.root())
}

#[test]
fn trajectories_end_where_those_of_diffusers_do() -> Result<()> {
    let golden = Golden::load("micro")?;
    let (unet, schedule) = (unet()?, micro_schedule()?);
    for (name, solver, steps, guidance) in [
        ("ddim20", Solver::Ddim, 20, 5.),
        ("dpmpp15", Solver::DpmSolverPp2m, 15, 5.),
        ("dpmpp8", Solver::DpmSolverPp2m, 8, 1.),
    ] {
        let plan = solver.plan(&schedule, steps, 0.)?;
        let timesteps: Vec<usize> = plan.steps.iter().map(|s| s.t as usize).collect();
        assert_eq!(
            timesteps,
            golden.timesteps(&format!("sample.{name}.t"))?,
            "{name}"
        );
        let config = SamplerConfig {
            solver,
            eta: 0.,
            steps,
            guidance,
            guidance_interval: None,
            batch: 2,
        };
        let latents = golden.nhwc("sample.latents")?;
        let (cond, uncond) = (golden.text("cond")?, golden.text("uncond")?);
        let mut told = Vec::new();
        let out = sample(
            &unet,
            &schedule,
            &config,
            &latents,
            &cond,
            &uncond,
            &mut |_, _| Vec::new(),
            &mut |n| told.push(n),
        )?;
        assert_eq!(told, (1..=steps).map(|s| 2 * s).collect::<Vec<_>>());
        assert_close(name, &out, &golden.nhwc(&format!("sample.{name}"))?, 1e-4);
    }
    Ok(())
}

/// Values of a golden noise `[2, 4, 16, 16]` in the sampler's layout: `[16, 16, 4]` of picture i.
fn golden_noise(i: usize, k: usize) -> Vec<f32> {
    let size = 4 * 16 * 16;
    let picture = &step_noise(2 * size, k)[i * size..(i + 1) * size];
    (0..size).map(|at| picture[at % 4 * 256 + at / 4]).collect()
}

#[test]
fn other_solvers_end_where_those_of_diffusers_do() -> Result<()> {
    let (golden, text) = (Golden::load("schedulers_micro")?, Golden::load("micro")?);
    let (unet, mut schedule) = (unet()?, micro_schedule()?);
    schedule.config.skip_prk_steps = Some(true);
    let latents = golden.nhwc("latents")?;
    let (cond, uncond) = (text.text("cond")?, text.text("uncond")?);
    // PNDM extrapolates from four predictions, which amplifies their rounding: on this U-Net PyTorch's f32 ends 1.9e-5 from
    // PyTorch's f64, and 7e-7 with Euler.
    for (name, solver, bound) in [
        ("pndm", Solver::Pndm, 1e-4),
        ("euler", Solver::Euler, 3e-5),
        ("euler_ancestral", Solver::EulerAncestral, 3e-5),
        ("ddpm", Solver::Ddpm, 3e-5),
        ("dpmpp_2m_karras", Solver::DpmSolverPp2mKarras, 3e-5),
    ] {
        let config = SamplerConfig {
            solver,
            eta: 0.,
            steps: 10,
            guidance: 5.,
            guidance_interval: None,
            batch: 1,
        };
        let t: Vec<f64> = config.plan(&schedule)?.steps.iter().map(|s| s.t).collect();
        assert_eq!(t, golden.f64s(&format!("{name}.t"))?, "{name}");
        let mut done = 0;
        let out = sample(
            &unet,
            &schedule,
            &config,
            &latents,
            &cond,
            &uncond,
            &mut golden_noise,
            &mut |n| done = n,
        )?;
        assert_eq!(done, 2 * t.len());
        assert_close(name, &out, &golden.nhwc(name)?, bound);
    }
    Ok(())
}

#[test]
fn pictures_do_not_depend_on_their_batch() -> Result<()> {
    let golden = Golden::load("micro")?;
    let (unet, schedule) = (unet()?, micro_schedule()?);
    let two = golden.nhwc("sample.latents")?;
    let latents = Tensor::cat(&[&two, &two.neg()?.narrow(0, 0, 1)?], 0)?;
    let (cond, uncond) = (golden.text("cond")?, golden.text("uncond")?);
    let cond = Conditioning::cat(&[&cond, &cond.narrow(0, 1)?])?;
    let run = |batch, latents: &Tensor, cond: &Conditioning, first: usize| {
        let config = SamplerConfig {
            solver: Solver::EulerAncestral,
            eta: 0.,
            steps: 4,
            guidance: 3.,
            guidance_interval: None,
            batch,
        };
        sample(
            &unet,
            &schedule,
            &config,
            latents,
            cond,
            &uncond,
            &mut |i, k| step_noise(1024, 10 * k + i + first),
            &mut |_| {},
        )
    };
    let whole = run(8, &latents, &cond, 0)?;
    for batch in [1, 2] {
        assert_close(
            &format!("batch {batch}"),
            &run(batch, &latents, &cond, 0)?,
            &whole,
            1e-5,
        );
    }
    let (last, text) = (latents.narrow(0, 2, 1)?, cond.narrow(2, 1)?);
    assert_close(
        "alone",
        &run(8, &last, &text, 2)?,
        &whole.narrow(0, 2, 1)?,
        1e-5,
    );
    Ok(())
}

fn bits(x: &Tensor) -> Result<Vec<u32>> {
    let values = x.flatten_all()?.to_vec1::<f32>()?;
    Ok(values.into_iter().map(f32::to_bits).collect())
}

#[test]
fn guidance_on_a_part_of_the_trajectory() -> Result<()> {
    let golden = Golden::load("micro")?;
    let (unet, schedule) = (unet()?, micro_schedule()?);
    let latents = golden.nhwc("sample.latents")?;
    let (cond, uncond) = (golden.text("cond")?, golden.text("uncond")?);
    // NaN that would spread if the unconditional half were computed.
    let nothing = Conditioning::from((&uncond.hidden_states * f64::NAN)?);
    for (solver, steps, evaluations) in [
        (Solver::Ddim, 5, 5),
        (Solver::DpmSolverPp2m, 4, 4),
        (Solver::Pndm, 6, 15),
    ] {
        let config = |guidance, guidance_interval| SamplerConfig {
            solver,
            eta: 0.,
            steps,
            guidance,
            guidance_interval,
            batch: 2,
        };
        let run = |config: &SamplerConfig, uncond: &Conditioning| {
            let silent = &mut |_, _| Vec::new();
            let none = &mut |_| {};
            sample(
                &unet, &schedule, config, &latents, &cond, uncond, silent, none,
            )
        };
        let whole = config(3., None);
        assert_eq!(whole.plan(&schedule)?.steps.len(), evaluations);
        assert_eq!(whole.passes(evaluations, false), 2 * evaluations);
        let all = bits(&run(&whole, &uncond)?)?;
        assert_eq!(
            all,
            bits(&run(&config(3., Some([0., 1.])), &uncond)?)?,
            "{solver:?}"
        );

        // No evaluation is in the interval: the unconditional half is never used.
        let none = config(3., Some([0.01, 0.02]));
        assert_eq!(none.passes(evaluations, false), evaluations);
        let plain = bits(&run(&config(1., None), &uncond)?)?;
        assert_eq!(plain, bits(&run(&none, &nothing)?)?, "{solver:?}");

        // The first and the last part, against the solver on networks with two rows and with one row per picture.
        for interval in [[0., 0.5], [0.5, 1.]] {
            let part = config(3., Some(interval));
            let (mut k, mut rows) = (0, 0);
            let mut network = |x: &Tensor, t: f64| {
                let place = k as f64 / evaluations as f64;
                k += 1;
                let conditional = |x: &Tensor, text: &Conditioning| unet.forward(x, &[t], text);
                if !(interval[0] <= place && place < interval[1]) {
                    rows += x.dim(0)?;
                    return conditional(x, &cond);
                }
                rows += 2 * x.dim(0)?;
                let texts = Conditioning::cat(&[&uncond.repeat(2)?, &cond])?;
                let both = conditional(&Tensor::cat(&[x, x], 0)?, &texts)?;
                let (u, c) = (both.narrow(0, 0, 2)?, both.narrow(0, 2, 2)?);
                &u + ((c - &u)? * 3.)?
            };
            let mut silent = |_: usize| candle_core::bail!("no noise is added");
            let plan = part.plan(&schedule)?;
            let want = plan.solve(latents.clone(), &mut network, &mut silent)?;
            let found = bits(&run(&part, &uncond)?)?;
            assert!(
                found == bits(&want)? && found != all && found != plain,
                "{solver:?}"
            );
            assert_eq!(rows, 2 * part.passes(evaluations, false));
        }
    }
    for interval in [[0.5, 0.5], [-0.1, 1.], [0., 1.1], [f64::NAN, 1.]] {
        let config = SamplerConfig {
            solver: Solver::Ddim,
            eta: 0.,
            steps: 2,
            guidance: 3.,
            guidance_interval: Some(interval),
            batch: 2,
        };
        let none = &mut |_| {};
        let result = sample(
            &unet,
            &schedule,
            &config,
            &latents,
            &cond,
            &uncond,
            &mut |_, _| Vec::new(),
            none,
        );
        assert!(
            result
                .unwrap_err()
                .to_string()
                .contains("from < to <= 1 is needed")
        );
    }
    Ok(())
}

#[test]
fn wrong_inputs_are_errors() -> Result<()> {
    let golden = Golden::load("micro")?;
    let (unet, schedule) = (unet()?, micro_schedule()?);
    let (latents, cond, uncond) = (
        golden.nhwc("sample.latents")?,
        golden.text("cond")?,
        golden.text("uncond")?,
    );
    let run = |steps, guidance, batch, cond: &Conditioning, uncond: &Conditioning| {
        let config = SamplerConfig {
            solver: Solver::Ddim,
            eta: 0.,
            steps,
            guidance,
            guidance_interval: None,
            batch,
        };
        let result = sample(
            &unet,
            &schedule,
            &config,
            &latents,
            cond,
            uncond,
            &mut |_, _| Vec::new(),
            &mut |_| {},
        );
        result.unwrap_err().to_string()
    };
    assert!(run(5, 2., 0, &cond, &uncond).contains("batch 0"));
    assert!(run(5, f64::NAN, 1, &cond, &uncond).contains("NaN"));
    assert!(run(5, 2., 1, &uncond, &uncond).contains("1 texts for 2 pictures"));
    assert!(run(5, 2., 1, &cond, &cond).contains("2 texts where one is repeated"));
    assert!(run(1000, 2., 1, &cond, &uncond).contains("1000 solver steps"));
    Ok(())
}

/// The first place where something is not finite is told, not what becomes of it.
#[test]
fn latents_that_are_not_finite_stop_with_their_step() -> Result<()> {
    let golden = Golden::load("micro")?;
    let (config, params) = micro_unet(false)?;
    let latents = golden.nhwc("sample.latents")?;
    let (cond, uncond) = (golden.text("cond")?, golden.text("uncond")?);
    let sampler = SamplerConfig {
        solver: Solver::Euler,
        eta: 0.,
        steps: 3,
        guidance: 5.,
        guidance_interval: None,
        batch: 1,
    };
    let draw = |params: &Params, latents: &Tensor| {
        let unet = UNet2DConditionModel::new(&config, &params.root())?;
        let schedule = micro_schedule()?;
        let none = &mut |_: usize, _: usize| Vec::new();
        sample(
            &unet,
            &schedule,
            &sampler,
            latents,
            &cond,
            &uncond,
            none,
            &mut |_| {},
        )
    };
    let message = |drawn: Result<Tensor>| drawn.err().map(|e| e.to_string()).unwrap_or_default();
    // Finite weights whose products are not.
    let huge = params.tensors_sorted()?.into_iter().map(|(name, tensor)| {
        let last = ["conv_norm_out.weight", "conv_out.weight"].contains(&&*name);
        let factor = if last { 1e30 } else { 1. };
        Ok((name, (tensor * factor)?))
    });
    let huge = Params::from_tensors(huge.collect::<Result<Vec<_>>>()?, "huge", false)?;
    let told = message(draw(&huge, &latents));
    for word in [
        "the U-Net's output in step 1 of 3, at timestep ",
        "hint",
        "model.dtype",
    ] {
        assert!(told.contains(word), "no {word:?} in: {told}");
    }
    let told = message(draw(&params, &(&latents * f64::NAN)?));
    assert!(
        told.contains("the sampler's latents in step 1 of 3"),
        "{told}"
    );
    assert!(draw(&params, &latents).is_ok());
    Ok(())
}
