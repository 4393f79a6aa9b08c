//! A picture's bits do not depend on the batch that it is drawn in, so it can be cached by itself.

use crate::support::micro;
use candle_core::{Device, Result, Tensor};
use rpo_data::random;
use rpo_diffusion::{Pipeline, SamplerConfig, Solver, sample};

const PICTURES: usize = 7;

fn noise(picture: usize, step: Option<usize>, n: usize) -> Vec<f32> {
    let names = [picture.to_string(), format!("{step:?}")];
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    random::normal(&mut random::stream(3, "batches", &names), n)
}

/// The bits of some pictures' latents and of their decoded bytes, drawn together.
fn drawn(
    pipeline: &Pipeline,
    config: &SamplerConfig,
    pictures: &[usize],
) -> Result<Vec<(Vec<u32>, Vec<u8>)>> {
    let [h, w, c] = pipeline.latent_dims();
    let start = pictures.iter().flat_map(|i| noise(*i, None, h * w * c));
    let latents = Tensor::from_vec(start.collect(), (pictures.len(), h, w, c), &Device::Cpu)?;
    let prompts: Vec<String> = pictures
        .iter()
        .map(|i| format!("a dog, number {i}"))
        .collect();
    let unet = pipeline.unet(&pipeline.unet_params)?;
    let latents = sample(
        &unet,
        &pipeline.schedule,
        config,
        &latents,
        &pipeline.encode_prompts(&prompts, 64)?,
        &pipeline.unconditional(64)?,
        &mut |i, step| noise(pictures[i], Some(step), h * w * c),
        &mut |_| {},
    )?;
    let decoded = pipeline.decode(&latents, pictures.len())?;
    let latents = latents.flatten_from(1)?.to_vec2::<f32>()?;
    let bits = latents
        .into_iter()
        .map(|l| l.into_iter().map(f32::to_bits).collect());
    Ok(bits
        .zip(decoded.into_iter().map(|p| p.into_raw()))
        .collect())
}

#[test]
fn a_picture_is_the_same_in_any_batch() -> Result<()> {
    let pipeline = Pipeline::load(&micro(""))?;
    let all: Vec<usize> = (0..PICTURES).collect();
    for (solver, eta, guidance_interval) in [
        (Solver::DpmSolverPp2m, 0., Some([0., 0.6])),
        (Solver::EulerAncestral, 0., None),
    ] {
        let config = |batch| SamplerConfig {
            solver,
            eta,
            steps: 3,
            guidance: 3.,
            guidance_interval,
            batch,
        };
        let together = drawn(&pipeline, &config(16), &all)?;
        for batch in [1, 2, 3] {
            assert!(
                drawn(&pipeline, &config(batch), &all)? == together,
                "batches of {batch}"
            );
        }
        // With others, and alone.
        let some = drawn(&pipeline, &config(16), &[5, 1])?;
        assert!(some[0] == together[5] && some[1] == together[1]);
        assert!(drawn(&pipeline, &config(16), &[6])?[0] == together[6]);
        assert!(together[0] != together[1]);
    }
    Ok(())
}
