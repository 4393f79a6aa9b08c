//! A depthwise convolution, its activation, and the means that squeeze-and-excite asks for.

use super::Maps;
use crate::ops::depthwise::kernel::{Packed, Sizes, rows};
use crate::ops::rows::sum_rows_f64;
use crate::ops::{Activation, ConvSpec, activation};
use crate::parallel;
use candle_core::{Device, Result, Tensor, bail};

/// A depthwise convolution with a bias.
#[derive(Clone, Debug)]
pub struct Depthwise {
    packed: Packed,
    kernel: [usize; 2],
    spec: ConvSpec,
}

impl Depthwise {
    /// `weight` is `[kh, kw, C]`, `bias` `[C]`.
    ///
    /// # Errors
    /// Shapes that do not fit, a dtype other than f32.
    pub fn new(weight: &Tensor, bias: &Tensor, spec: ConvSpec) -> Result<Self> {
        let (kh, kw, c) = weight.dims3()?;
        if bias.dims() != [c] {
            bail!(
                "depthwise: weight {:?}, bias {:?}; expected [kh, kw, C] and [C]",
                weight.shape(),
                bias.shape()
            )
        }
        let weight = weight.flatten_all()?.to_vec1::<f32>()?;
        let bias = bias.to_vec1::<f32>()?;
        Ok(Self {
            packed: Packed::new(&weight, Some(&bias), [kh, kw], c),
            kernel: [kh, kw],
            spec,
        })
    }

    /// `out` `[B, Ho, Wo, C]` = `function`(convolution of `x` `[B, H, W, C]`); returns the mean of every map, `[B, C]`.
    ///
    /// # Errors
    /// Sizes that do not fit.
    pub fn forward(&self, x: &Maps, function: Activation, out: &mut Maps) -> Result<Tensor> {
        let [batch, height, width, c] = x.dims;
        if c != self.packed.channels {
            bail!(
                "depthwise: maps of {c} channels, the weight has {}",
                self.packed.channels
            )
        }
        let sizes = Sizes {
            spec: self.spec,
            input: [height, width],
            output: self
                .spec
                .output("depthwise", [height, width], self.kernel)?,
        };
        let [out_height, out_width] = sizes.output;
        out.reshape([batch, out_height, out_width, c]);
        let (row, image, image_out) = (out_width * c, x.image(), out.image());
        let band = sizes.band();
        let sums =
            parallel::map_image_chunks(&mut out.values, image_out, band * row, |b, at, y| {
                let x = &x.values[b * image..][..image];
                let silu = function == Activation::Silu;
                rows(&self.packed, &sizes, x, at / row.max(1), y, silu);
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
