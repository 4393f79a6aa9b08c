//! Whole sampling runs of the micro model against diffusers.

mod support;

use candle_core::{Result, Tensor};
use rpo_diffusion::{Conditioning, SamplerConfig, Solver, UNet2DConditionModel, sample};
use support::{Golden, assert_close, micro_schedule, micro_unet};

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
        let timesteps: Vec<usize> = solver
            .steps(&schedule, steps)?
            .iter()
            .map(|s| s.t)
            .collect();
        assert_eq!(
            timesteps,
            golden.timesteps(&format!("sample.{name}.t"))?,
            "{name}"
        );
        let config = SamplerConfig {
            solver,
            steps,
            guidance,
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
            &mut |n| told.push(n),
        )?;
        assert_eq!(told, (1..=steps).map(|s| 2 * s).collect::<Vec<_>>());
        assert_close(name, &out, &golden.nhwc(&format!("sample.{name}"))?, 1e-4);
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
    let run = |batch, latents: &Tensor, cond: &Conditioning| {
        let config = SamplerConfig {
            solver: Solver::DpmSolverPp2m,
            steps: 4,
            guidance: 3.,
            batch,
        };
        sample(
            &unet,
            &schedule,
            &config,
            latents,
            cond,
            &uncond,
            &mut |_| {},
        )
    };
    let whole = run(8, &latents, &cond)?;
    for batch in [1, 2] {
        assert_close(
            &format!("batch {batch}"),
            &run(batch, &latents, &cond)?,
            &whole,
            1e-5,
        );
    }
    let (last, text) = (latents.narrow(0, 2, 1)?, cond.narrow(2, 1)?);
    assert_close(
        "alone",
        &run(8, &last, &text)?,
        &whole.narrow(0, 2, 1)?,
        1e-5,
    );
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
            steps,
            guidance,
            batch,
        };
        let result = sample(
            &unet,
            &schedule,
            &config,
            &latents,
            cond,
            uncond,
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
