//! A depthwise convolution, its activation, and the means for squeeze-and-excite.

use super::Maps;
use super::device::Weights;
use crate::Place;
use crate::ops::depthwise::kernel::{Packed, Sizes, rows};
use crate::ops::{Activation, ConvSpec, activation};
use crate::parallel;
use crate::rows::sum_rows_f64;
use candle_core::{Device, Result, Tensor, bail};

/// A depthwise convolution with a bias.
#[derive(Clone, Debug)]
pub struct Depthwise {
    kept: Kept,
    kernel: [usize; 2],
    channels: usize,
    spec: ConvSpec,
}

#[derive(Clone, Debug)]
enum Kept {
    Host(Packed),
    Device(Weights),
}

impl Depthwise {
    /// `weight` is `[kh, kw, C]`, `bias` `[C]`, both on the CPU; the layer computes at `place`.
    ///
    /// # Errors
    /// Shapes that do not fit, a dtype other than f32.
    pub fn new(weight: &Tensor, bias: &Tensor, spec: ConvSpec, place: &Place) -> Result<Self> {
        let (kh, kw, c) = weight.dims3()?;
        if bias.dims() != [c] {
            bail!(
                "depthwise: weight {:?}, bias {:?}; expected [kh, kw, C] and [C]",
                weight.shape(),
                bias.shape()
            )
        }
        let kept = if place.is_cpu() {
            let weight = weight.flatten_all()?.to_vec1::<f32>()?;
            let bias = bias.to_vec1::<f32>()?;
            Kept::Host(Packed::new(&weight, Some(&bias), [kh, kw], c))
        } else {
            Kept::Device(Weights {
                weight: place.enter(weight)?,
                bias: place.enter(bias)?,
            })
        };
        Ok(Self {
            kept,
            kernel: [kh, kw],
            channels: c,
            spec,
        })
    }

    /// `out` `[B, Ho, Wo, C]` = `function`(convolution of `x` `[B, H, W, C]`); returns the mean of every map, `[B, C]`.
    ///
    /// # Errors
    /// Sizes that do not fit.
    pub fn forward(&self, x: &Maps, function: Activation, out: &mut Maps) -> Result<Tensor> {
        let [batch, height, width, c] = x.dims;
        if c != self.channels {
            bail!(
                "depthwise: maps of {c} channels, the weight has {}",
                self.channels
            )
        }
        let packed = match &self.kept {
            Kept::Host(packed) => packed,
            Kept::Device(weights) => {
                let means;
                (*out, means) = weights.depthwise(x, self.spec, function)?;
                return Ok(means);
            }
        };
        let sizes = Sizes {
            spec: self.spec,
            input: [height, width],
            output: self
                .spec
                .output("depthwise", [height, width], self.kernel)?,
        };
        let [out_height, out_width] = sizes.output;
        let (row, image, image_out) = (out_width * c, x.image(), out_height * out_width * c);
        let (x, out) = (x.host()?, out.reshape([batch, out_height, out_width, c]));
        let band = sizes.band();
        let sums = parallel::map_image_chunks(out, image_out, band * row, |b, at, y| {
            let x = &x[b * image..][..image];
            let silu = function == Activation::Silu;
            rows(packed, &sizes, x, at / row.max(1), y, silu);
            if !silu {
                activation::apply(function, y);
            }
            sum_rows_f64(y, c)
        });
        let places = (out_height * out_width) as f64;
        let mut means = vec![0f32; batch * c];
        let bands = out_height.div_ceil(band);
        for (means, sums) in means.chunks_exact_mut(c.max(1)).zip(sums.chunks(bands)) {
            for (channel, mean) in means.iter_mut().enumerate() {
                *mean = (sums.iter().map(|s| s[channel]).sum::<f64>() / places) as f32;
            }
        }
        Tensor::from_vec(means, (batch, c), &Device::Cpu)
    }
}
