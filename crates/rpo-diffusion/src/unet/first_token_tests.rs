//! Gradients with a detached first token are the derivatives of the loss in which that token's keys and values stand still.

use super::{TextContext, UNet2DConditionModel};
use crate::conditioning::Conditioning;
use crate::custom_diffusion::is_key_or_value;
use crate::pipeline::Pipeline;
use candle_core::{Device, Result, Tensor};
use rpo_nn::weights::Params;
use rpo_nn::{Tape, ops};
use std::path::Path;

const TIMES: [f64; 2] = [481., 999.];

/// Fixed values of standard deviation 1.
fn wave(shape: &[usize], k: usize) -> Result<Tensor> {
    let n = shape.iter().product();
    let z = |i: usize| (2f64.sqrt() * (1. + 3. * i as f64 + 7. * k as f64).sin()) as f32;
    Tensor::from_vec((0..n).map(z).collect::<Vec<_>>(), shape, &Device::Cpu)
}

struct Case {
    pipeline: Pipeline,
    /// The keys' and values' projections.
    part: Params,
    unet: UNet2DConditionModel,
    text: Conditioning,
    latents: Tensor,
    target: Tensor,
}

impl Case {
    fn load() -> Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/text_gradients/sd");
        let pipeline = Pipeline::load(&folder)?;
        let part = pipeline.trainable_part(is_key_or_value)?;
        Ok(Self {
            unet: pipeline.unet(&pipeline.unet_params.with_part(&part))?,
            text: wave(&[2, 5, 16], 2)?.into(),
            latents: wave(&[2, 8, 6, 4], 0)?,
            target: wave(&[2, 8, 6, 4], 1)?,
            part,
            pipeline,
        })
    }

    /// The text as a U-Net reads it whose keys and values are `factor` times these.
    fn read(&self, factor: f64) -> Result<TextContext> {
        let scaled = self.part.detached().tensors_sorted()?.into_iter();
        let scaled = scaled.map(|(name, tensor)| Ok((name, (tensor * factor)?)));
        let scaled = Params::from_tensors(scaled.collect::<Result<Vec<_>>>()?, "scaled", false)?;
        let tensors = self.pipeline.unet_params.with_part(&scaled);
        self.pipeline.unet(&tensors)?.prepare_text(&self.text)
    }

    fn loss(&self, text: &TextContext) -> Result<f64> {
        let output = self.unet.forward_with(&self.latents, &TIMES, text)?;
        let off = (output.detach() - &self.target)?.flatten_all()?;
        let squares = off.to_vec1::<f32>()?.into_iter();
        let squares: Vec<f64> = squares.map(|x| f64::from(x) * f64::from(x)).collect();
        Ok(squares.iter().sum::<f64>() / squares.len() as f64)
    }

    /// The derivative of the loss along the weights themselves, by differences; `held`: the first token's keys and values stand still.
    fn difference(&self, held: bool) -> Result<f64> {
        let h = 0.02;
        let still = self.read(1.)?;
        let at = |factor| {
            let mut text = self.read(factor)?;
            if held {
                let first = |moved: &Tensor, still: &Tensor| {
                    let rest = moved.narrow(1, 1, 4)?;
                    Tensor::cat(&[&still.narrow(1, 0, 1)?, &rest], 1)
                };
                for ((k, v), (k0, v0)) in text.keys_values.iter_mut().zip(&still.keys_values) {
                    (*k, *v) = (first(k, k0)?, first(v, v0)?);
                }
            }
            self.loss(&text)
        };
        Ok((at(1. + h)? - at(1. - h)?) / (2. * h))
    }

    /// The same by the gradient.
    fn slope(&self, detach: bool) -> Result<f64> {
        let tape = Tape::new(false)?;
        let unet = self.unet.detaching_first_token(detach);
        let output = unet.forward_on(&tape, &self.latents, &TIMES, &self.text)?;
        let loss = ops::mean_squared_per_sample(&output, &self.target)?.mean_all()?;
        let grads = tape.backward(&loss)?;
        let mut slope = 0.;
        for (name, var) in self.part.vars() {
            let Some(grad) = grads.get(&var) else {
                candle_core::bail!("{name} has no gradient")
            };
            let along = (grad * var.as_detached_tensor())?.flatten_all()?;
            slope += along
                .to_vec1::<f32>()?
                .into_iter()
                .map(f64::from)
                .sum::<f64>();
        }
        Ok(slope)
    }
}

#[test]
fn gradients_are_those_of_the_loss_with_the_first_token_held() -> Result<()> {
    let case = Case::load()?;
    for held in [true, false] {
        let (slope, difference) = (case.slope(held)?, case.difference(held)?);
        let off = (slope / difference - 1.).abs();
        println!("held {held}: {slope:.6} by the gradient, {difference:.6} by differences");
        assert!(off < 2e-3, "held {held}: {slope} {difference}");
    }
    let (held, free) = (case.slope(true)?, case.slope(false)?);
    assert!((held / free - 1.).abs() > 0.05, "{held} {free}");
    Ok(())
}
