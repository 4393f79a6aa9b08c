//! Timestep embedding, and SDXL's embedding of pooled text and picture sizes.

use candle_core::{Device, Result, Tensor, bail};
use rpo_nn::Place;
use rpo_nn::layers::Linear;
use rpo_nn::ops::{self, Activation};
use rpo_nn::weights::Scope;

use super::config::UNetConfig;
use crate::conditioning::Added;

/// diffusers' `TimestepEmbedding`: Linear, SiLU, Linear.
#[derive(Debug, Clone)]
struct Mlp {
    linear_1: Linear,
    linear_2: Linear,
}

impl Mlp {
    fn new(scope: &Scope, input: usize, dim: usize) -> Result<Self> {
        Ok(Self {
            linear_1: Linear::new(&scope.sub("linear_1"), input, dim, true)?,
            linear_2: Linear::new(&scope.sub("linear_2"), dim, dim, true)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = ops::activation(&self.linear_1.forward(x)?, Activation::Silu)?;
        self.linear_2.forward(&x)
    }
}

/// diffusers' `Timesteps`: how numbers become sinusoids.
#[derive(Debug, Clone, Copy)]
struct Sinusoids {
    channels: usize,
    flip_sin_to_cos: bool,
    freq_shift: f64,
}

impl Sinusoids {
    fn new(config: &UNetConfig, channels: usize) -> Self {
        Self {
            channels,
            flip_sin_to_cos: config.flip_sin_to_cos,
            freq_shift: config.freq_shift,
        }
    }

    /// `[n, channels]`
    fn of(&self, values: &[f64]) -> Result<Tensor> {
        let rows = sinusoids(values, self.channels, self.flip_sin_to_cos, self.freq_shift);
        Tensor::from_vec(rows, (values.len(), self.channels), &Device::Cpu)
    }
}

/// SDXL's `add_embedding` (Podell et al. 2023, section 2.2): pooled text and the sinusoids of six sizes, through an MLP.
#[derive(Debug, Clone)]
pub(crate) struct AddEmbedding {
    sinusoids: Sinusoids,
    mlp: Mlp,
    input: usize,
}

impl AddEmbedding {
    pub(crate) fn new(config: &UNetConfig, scope: &Scope) -> Result<Option<Self>> {
        let Some((channels, input)) = config.added else {
            return Ok(None);
        };
        Ok(Some(Self {
            sinusoids: Sinusoids::new(config, channels),
            mlp: Mlp::new(scope, input, config.time_embed_dim())?,
            input,
        }))
    }

    /// `[B, 4 C]`, to be added to the timestep's embedding.
    pub(crate) fn forward(&self, added: &Added, place: &Place) -> Result<Tensor> {
        let (text, ids) = (&added.text_embeds, &added.time_ids);
        let (batch, n) = ids.dims2()?;
        let values: Vec<f64> = ids
            .flatten_all()?
            .to_vec1::<f32>()?
            .into_iter()
            .map(f64::from)
            .collect();
        let sizes = self
            .sinusoids
            .of(&values)?
            .reshape((batch, n * self.sinusoids.channels))?;
        let x = ops::concat_channels(text, &sizes)?;
        if x.dim(1)? != self.input {
            bail!(
                "text_embeds {:?} and time_ids {:?} make {} numbers, the model's add_embedding takes {}",
                text.shape(),
                ids.shape(),
                x.dim(1)?,
                self.input
            )
        }
        self.mlp.forward(&place.enter(&x)?)
    }
}

/// Sinusoids of t, then Linear, SiLU, Linear.
#[derive(Debug, Clone)]
pub(crate) struct TimeEmbedding {
    sinusoids: Sinusoids,
    mlp: Mlp,
}

impl TimeEmbedding {
    pub(crate) fn new(config: &UNetConfig, scope: &Scope) -> Result<Self> {
        let channels = config.block_out_channels[0];
        Ok(Self {
            sinusoids: Sinusoids::new(config, channels),
            mlp: Mlp::new(scope, channels, config.time_embed_dim())?,
        })
    }

    /// `[B]` timesteps to `[B, 4 C]`, plus SDXL's embedding if any, with the SiLU that every ResNet block applies first.
    pub(crate) fn forward(
        &self,
        timesteps: &[f64],
        added: Option<&Tensor>,
        place: &Place,
    ) -> Result<Tensor> {
        let sinusoids = place.enter(&self.sinusoids.of(timesteps)?)?;
        let mut x = self.mlp.forward(&sinusoids)?;
        if let Some(added) = added {
            x = ops::add(&x, added)?;
        }
        ops::activation(&x, Activation::Silu)
    }
}

/// `sin(t w_i), cos(t w_i)` with `w_i = exp(-ln(10000) i / (C/2 - shift))` (Vaswani et al. 2017, section 3.5).
/// The frequencies are rounded to f32 as in PyTorch: at t = 999 their last bit matters in the result.
fn sinusoids(
    timesteps: &[f64],
    channels: usize,
    flip_sin_to_cos: bool,
    freq_shift: f64,
) -> Vec<f32> {
    let half = channels / 2;
    let span = (half as f64 - freq_shift) as f32;
    let frequency = |i: usize| {
        let exponent = -(10000f64.ln() as f32) * i as f32 / span;
        f64::from(exponent).exp() as f32
    };
    let frequencies: Vec<f32> = (0..half).map(frequency).collect();
    let mut rows = Vec::with_capacity(timesteps.len() * channels);
    for &t in timesteps {
        let angles = || frequencies.iter().map(|w| f64::from(t as f32 * w));
        let (sin, cos) = (
            angles().map(|a| a.sin() as f32),
            angles().map(|a| a.cos() as f32),
        );
        if flip_sin_to_cos {
            rows.extend(cos.chain(sin));
        } else {
            rows.extend(sin.chain(cos));
        }
        // An odd width is padded with a zero.
        rows.extend(std::iter::repeat_n(0., channels % 2));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::sinusoids;

    #[test]
    fn orders_and_pads() {
        let plain = sinusoids(&[0., 2.], 5, false, 0.);
        assert_eq!(plain[..5], [0., 0., 1., 1., 0.]);
        assert_eq!(plain[5], 2f64.sin() as f32);
        assert!((f64::from(plain[6]) - 0.02f64.sin()).abs() < 1e-8);
        let flipped = sinusoids(&[2.], 4, true, 1.);
        assert_eq!(flipped[0], 2f64.cos() as f32);
        // shift 1 puts the last frequency at 1/10000
        assert!((f64::from(flipped[3]) - 2e-4).abs() < 1e-9);
    }
}
