//! No bit of a training step or a sampling run of the embedded model depends on the number of threads.

use std::collections::BTreeMap;

use crate::support::micro;
use candle_core::{Device, Result, Tensor};
use rpo_diffusion::{Pipeline, SamplerConfig, Solver, sample};
use rpo_nn::optim::{self, AdamW, AdamWConfig};
use rpo_nn::{Tape, ops};

/// Pseudo-random numbers in [-2, 2).
fn numbers(dims: &[usize], salt: u32) -> Result<Tensor> {
    let n = dims.iter().product::<usize>() as u32;
    let value = |i: u32| {
        let bits = (i ^ salt.rotate_left(16)).wrapping_mul(2_654_435_761) >> 8;
        bits as f32 / (1 << 22) as f32 - 2.0
    };
    Tensor::from_vec((0..n).map(value).collect::<Vec<_>>(), dims, &Device::Cpu)
}

fn bits(t: &Tensor) -> Result<Vec<u32>> {
    let values = t.flatten_all()?.to_vec1::<f32>()?;
    Ok(values.into_iter().map(f32::to_bits).collect())
}

/// All results of the work, by name.
type Outcome = BTreeMap<String, Vec<u32>>;

/// Runs `work` on pools of 1, 2 and 3 threads.
fn compare(work: fn() -> Result<Outcome>) -> Result<()> {
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("threads are to be had");
        pool.install(work)
    };
    let one = on(1)?;
    assert!(one.values().all(|v| !v.is_empty()));
    for threads in [2, 3] {
        for (name, values) in on(threads)? {
            assert!(values == one[&name], "{name} differs on {threads} threads");
        }
    }
    Ok(())
}

#[test]
fn a_training_step() -> Result<()> {
    compare(|| {
        let mut outcome = Outcome::new();
        for recompute in [false, true] {
            let pipeline = Pipeline::load(&micro(""))?;
            let params = pipeline.unet_params.deep_copy(true)?;
            let unet = pipeline.unet(&params)?;
            let text = pipeline.encode_prompts(&["a [v] dog", "a red car", "a cat"], 64)?;
            let (x, e) = (numbers(&[3, 16, 16, 4], 1)?, numbers(&[3, 16, 16, 4], 2)?);
            let tape = Tape::new(recompute)?;
            let prediction = unet.forward_on(&tape, &x, &[3.0, 500.0, 997.0], &text)?;
            let loss = ops::mean_squared_per_sample(&prediction, &e)?.mean_all()?;
            let grads = tape.backward(&loss)?;
            let norm = optim::global_norm(&grads, &params.vars())?;
            let mut optimizer = AdamW::new(AdamWConfig::default(), params.vars())?;
            optimizer.step(&grads, optim::clip_scale(norm, 1.0))?;
            for (name, var) in params.vars() {
                outcome.insert(format!("{name}, recompute {recompute}"), bits(&var)?);
            }
        }
        Ok(outcome)
    })
}

#[test]
fn pictures() -> Result<()> {
    compare(|| {
        let pipeline = Pipeline::load(&micro(""))?;
        let config = SamplerConfig {
            solver: Solver::DpmSolverPp2m,
            eta: 0.,
            steps: 3,
            guidance: 3.,
            guidance_interval: Some([0., 0.5]),
            batch: 3,
        };
        let latents = sample(
            &pipeline.unet(&pipeline.unet_params)?,
            &pipeline.schedule,
            &config,
            &numbers(&[3, 16, 16, 4], 5)?,
            &pipeline.encode_prompts(&["a [v] dog", "a red car", "a cat"], 64)?,
            &pipeline.unconditional(64)?,
            &mut |_, _| Vec::new(),
            &mut |_| {},
        )?;
        let mut outcome = Outcome::from([("latents".to_owned(), bits(&latents)?)]);
        for (i, picture) in pipeline.decode(&latents, 3)?.into_iter().enumerate() {
            let bytes = picture.into_raw().into_iter().map(u32::from).collect();
            outcome.insert(format!("picture {i}"), bytes);
        }
        Ok(outcome)
    })
}
