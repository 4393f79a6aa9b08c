//! DCO's reward guidance: against diffusers' U-Net and schedulers, against its formula in f64, and where it is classifier-free guidance.

use crate::support::{
    Golden, assert_close, f64s, golden_path, micro_schedule, micro_unet, relative, step_noise,
};
use candle_core::{Result, Tensor};
use rpo_diffusion::custom_diffusion::is_key_or_value;
use rpo_diffusion::{
    Conditioning, Guided, NoiseSchedule, Pipeline, RewardGuidance, SamplerConfig, Solver,
    UNet2DConditionModel, UNetConfig, sample, sample_guided,
};
use rpo_nn::weights::Params;

/// The network of some tensors, and the same with every key and value of the text half as large again: the base and what was trained.
fn networks(config: &UNetConfig, base: &Params) -> Result<[UNet2DConditionModel; 2]> {
    let tensors = base.tensors_sorted()?.into_iter();
    let tensors = tensors.map(|(name, tensor)| {
        let factor = if is_key_or_value(&name) { 1.5 } else { 1. };
        Ok((name, (tensor * factor)?))
    });
    let trained = Params::from_tensors(tensors.collect::<Result<Vec<_>>>()?, "trained", false)?;
    let new = |params: &Params| UNet2DConditionModel::new(config, &params.root());
    Ok([new(base)?, new(&trained)?])
}

fn config(solver: Solver, steps: usize, guidance: f64) -> SamplerConfig {
    SamplerConfig {
        solver,
        eta: 0.,
        steps,
        guidance,
        guidance_interval: None,
        batch: 2,
    }
}

/// `noise()` of `scripts/golden/schedulers.py` for n pictures of `[4, side, side]`, in the sampler's layout.
fn golden_noise(n: usize, side: usize) -> impl FnMut(usize, usize) -> Vec<f32> {
    let (area, size) = (side * side, 4 * side * side);
    move |i, k| {
        let picture = &step_noise(n * size, k)[i * size..(i + 1) * size];
        let at = |at: usize| picture[at % 4 * area + at / 4];
        (0..size).map(at).collect()
    }
}

#[test]
fn trajectories_end_where_those_of_diffusers_do() -> Result<()> {
    let golden = Golden::load("reward_guidance")?;
    let pipeline = Pipeline::load(&golden_path("text_gradients/sd"))?;
    let [base, trained] = networks(&pipeline.unet_config, &pipeline.unet_params)?;
    let schedule = micro_schedule()?;
    let latents = golden.nhwc("latents")?;
    let [cond, plain, uncond] = ["own", "plain", "uncond"].map(|name| golden.text(name));
    let (cond, plain, uncond) = (cond?, plain?, uncond?);
    // PyTorch's own f32 ends at most 9.3e-7 from its f64.
    for (name, solver, guidance, scale) in [
        ("ddim", Solver::Ddim, 7.5, 3.),
        ("dpmpp_2m", Solver::DpmSolverPp2m, 3., 3.),
        ("euler_ancestral", Solver::EulerAncestral, 3., 5.),
        ("ddim, no guidance", Solver::Ddim, 1., 2.),
    ] {
        let run = |scale| {
            let guided = Guided {
                unet: &trained,
                cond: &cond,
                uncond: &uncond,
                reward: Some(RewardGuidance {
                    scale,
                    base: &base,
                    plain: &plain,
                }),
            };
            let config = config(solver, 8, guidance);
            let noise = &mut golden_noise(3, 8);
            sample_guided(&guided, &schedule, &config, &latents, noise, &mut |_| {})
        };
        let expected = golden.nhwc(name)?;
        assert_close(name, &run(scale)?, &expected, 1e-5);
        // Another scale is seen.
        assert!(relative(&run(scale + 0.01)?, &expected)? > 1e-4, "{name}");
    }
    Ok(())
}

/// One evaluation after the other, each picture and each network by itself, put together in f64.
fn slowly(
    [base, trained]: [&UNet2DConditionModel; 2],
    [cond, plain, uncond]: [&Conditioning; 3],
    schedule: &NoiseSchedule,
    config: &SamplerConfig,
    scale: f64,
    latents: &Tensor,
) -> Result<(Tensor, usize)> {
    let plan = config.plan(schedule)?;
    let n = plan.steps.len();
    let (mut k, mut passes) = (0, 0);
    let mut network = |x: &Tensor, t: f64| {
        let place = k as f64 / n as f64;
        k += 1;
        let [from, to] = config.guidance_interval.unwrap_or([0., 1.]);
        let mut rows = Vec::new();
        for i in 0..x.dim(0)? {
            let x = x.narrow(0, i, 1)?;
            let mut of = |unet: &UNet2DConditionModel, text: &Conditioning, row: usize| {
                passes += 1;
                f64s(&unet.forward(&x, &[t], &text.narrow(row, 1)?)?)
            };
            let subject = of(trained, cond, i)?;
            let together = if from <= place && place < to {
                let class = of(base, plain, i)?;
                // At 1 the empty text cancels out.
                let empty = match config.guidance == 1. {
                    true => class.clone(),
                    false => of(base, uncond, 0)?,
                };
                let all = subject.iter().zip(&class).zip(&empty);
                all.map(|((s, c), e)| e + config.guidance * (c - e) + scale * (s - c))
                    .collect()
            } else {
                subject
            };
            rows.extend(together.into_iter().map(|v| v as f32));
        }
        Tensor::from_vec(rows, x.shape(), x.device())
    };
    let mut silent = |_: usize| candle_core::bail!("no noise is added");
    let end = plan.solve(latents.clone(), &mut network, &mut silent)?;
    Ok((end, passes))
}

#[test]
fn every_step_follows_the_formula() -> Result<()> {
    let golden = Golden::load("micro")?;
    let (unet, params) = micro_unet(false)?;
    let [base, trained] = networks(&unet, &params)?;
    let schedule = micro_schedule()?;
    let latents = golden.nhwc("sample.latents")?;
    let (cond, uncond) = (golden.text("cond")?, golden.text("uncond")?);
    let plain = cond.select(&[1, 0])?;
    for (solver, steps, guidance, interval) in [
        (Solver::Ddim, 5, 3., None),
        (Solver::DpmSolverPp2m, 5, 3., Some([0.2, 0.7])),
        (Solver::Pndm, 5, 1., None),
        (Solver::Ddim, 4, 1., Some([0., 0.5])),
    ] {
        let config = SamplerConfig {
            guidance_interval: interval,
            ..config(solver, steps, guidance)
        };
        let guided = Guided {
            unet: &trained,
            cond: &cond,
            uncond: &uncond,
            reward: Some(RewardGuidance {
                scale: 2.5,
                base: &base,
                plain: &plain,
            }),
        };
        let mut told = 0;
        let found = sample_guided(
            &guided,
            &schedule,
            &config,
            &latents,
            &mut |_, _| Vec::new(),
            &mut |n| told = n,
        )?;
        let texts = [&cond, &plain, &uncond];
        let nets = [&base, &trained];
        let (wanted, passes) = slowly(nets, texts, &schedule, &config, 2.5, &latents)?;
        let what = format!("{solver:?}, w = {guidance}, {interval:?}");
        assert_close(&what, &found, &wanted, 1e-5);
        let evaluations = config.plan(&schedule)?.steps.len();
        assert_eq!(told, 2 * evaluations, "{what}");
        assert_eq!(passes, 2 * config.passes(evaluations, true), "{what}");
        if guidance == 1. {
            // NaN that would spread if the empty text were computed.
            let nothing = Conditioning::from((&uncond.hidden_states * f64::NAN)?);
            let guided = Guided {
                uncond: &nothing,
                ..guided
            };
            let silent = &mut |_, _| Vec::new();
            let none = &mut |_| {};
            let again = sample_guided(&guided, &schedule, &config, &latents, silent, none)?;
            assert_eq!(f64s(&again)?, f64s(&found)?, "{what}");
        }
    }
    Ok(())
}

#[test]
fn of_the_base_itself_it_is_classifier_free_guidance() -> Result<()> {
    let golden = Golden::load("micro")?;
    let (unet, params) = micro_unet(false)?;
    let [base, trained] = networks(&unet, &params)?;
    let schedule = micro_schedule()?;
    let latents = golden.nhwc("sample.latents")?;
    let (cond, uncond) = (golden.text("cond")?, golden.text("uncond")?);
    for guidance in [3., 1.] {
        let config = config(Solver::DpmSolverPp2m, 4, guidance);
        let silent = &mut |_, _| Vec::new();
        let none = &mut |_| {};
        let plain = sample(
            &base, &schedule, &config, &latents, &cond, &uncond, silent, none,
        )?;
        let mut led = |unet: &UNet2DConditionModel, scale| {
            let guided = Guided {
                unet,
                cond: &cond,
                uncond: &uncond,
                reward: Some(RewardGuidance {
                    scale,
                    base: &base,
                    plain: &cond,
                }),
            };
            f64s(&sample_guided(
                &guided, &schedule, &config, &latents, silent, none,
            )?)
        };
        for scale in [3., 0.7] {
            assert_eq!(led(&base, scale)?, f64s(&plain)?, "{guidance} {scale}");
        }
        assert_ne!(led(&trained, 3.)?, f64s(&plain)?);
    }
    Ok(())
}

#[test]
fn wrong_inputs_are_errors() -> Result<()> {
    let golden = Golden::load("micro")?;
    let (unet, params) = micro_unet(false)?;
    let [base, trained] = networks(&unet, &params)?;
    let schedule = micro_schedule()?;
    let latents = golden.nhwc("sample.latents")?;
    let (cond, uncond) = (golden.text("cond")?, golden.text("uncond")?);
    let refused = |scale: f64, plain: &Conditioning| {
        let guided = Guided {
            unet: &trained,
            cond: &cond,
            uncond: &uncond,
            reward: Some(RewardGuidance {
                scale,
                base: &base,
                plain,
            }),
        };
        let config = config(Solver::Ddim, 2, 3.);
        let silent = &mut |_, _| Vec::new();
        let ended = sample_guided(&guided, &schedule, &config, &latents, silent, &mut |_| {});
        ended.map_or_else(|e| e.to_string(), |_| "it ended".to_owned())
    };
    assert_eq!(refused(3., &cond), "it ended");
    assert!(refused(f64::NAN, &cond).contains("reward guidance NaN"));
    assert!(refused(3., &uncond).contains("1 texts for 2 pictures"));
    Ok(())
}
