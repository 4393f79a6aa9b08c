//! A 1x1 convolution fused with the operations around it.

use super::device::Weights;
use super::{After, Maps};
use crate::Place;
use crate::autograd::with_views;
use crate::matrix::{Matrix, Panels, Start};
use crate::ops::activation;
use crate::ops::elementwise::product_of;
use crate::parallel;
use crate::rows::{add_to, fill_rows};
use crate::scratch;
use candle_core::{Result, Tensor, bail};

/// Values that a task reads and writes together: they stay in the second-level cache.
const TASK: usize = 96 * 1024;
/// Minimum rows per task: enough uses to pay for fetching the weights.
const ROWS: usize = 48;

/// A 1x1 convolution with a bias.
#[derive(Clone, Debug)]
pub struct Pointwise {
    kept: Kept,
    input: usize,
    output: usize,
}

#[derive(Clone, Debug)]
enum Kept {
    Host {
        /// W^T in panels.
        weight: Vec<f32>,
        bias: Vec<f32>,
    },
    Device(Weights),
}

impl Pointwise {
    /// `weight` is `[output, input]`, `bias` `[output]`, both on the CPU; the layer computes at `place`.
    ///
    /// # Errors
    /// Shapes that do not fit, a dtype other than f32.
    pub fn new(weight: &Tensor, bias: &Tensor, place: &Place) -> Result<Self> {
        let (output, input) = weight.dims2()?;
        if bias.dims() != [output] {
            bail!(
                "pointwise: weight {:?}, bias {:?}; expected [output, input] and [output]",
                weight.shape(),
                bias.shape()
            )
        }
        let weight = weight.contiguous()?;
        let kept = if place.is_cpu() {
            Kept::Host {
                weight: with_views([&weight], |[w]| {
                    Ok(Panels::arrange(Matrix::new(w.data, output, input).t()))
                })?,
                bias: bias.to_vec1()?,
            }
        } else {
            Kept::Device(Weights {
                weight: place.enter(&weight)?,
                bias: place.enter(bias)?,
            })
        };
        Ok(Self {
            kept,
            input,
            output,
        })
    }

    /// `out` = `after`((`x` ⊙ `gate`) W^T + b) for `x` `[B, H, W, input]` and `gate`, `B` rows of `input` values.
    ///
    /// # Errors
    /// Sizes that do not fit.
    pub fn forward(
        &self,
        x: &Maps,
        gate: Option<&Tensor>,
        after: After<'_>,
        out: &mut Maps,
    ) -> Result<()> {
        let [batch, height, width, c] = x.dims;
        let dims = [batch, height, width, self.output];
        if c != self.input {
            bail!(
                "pointwise: maps of {c} channels, the weight takes {}",
                self.input
            )
        }
        if let After::Add(other) = after
            && other.dims != dims
        {
            bail!("pointwise: {:?} cannot be added to {dims:?}", other.dims)
        }
        if let Some(gate) = gate.filter(|gate| gate.dims() != [batch, c]) {
            bail!("pointwise: gate {:?}, maps {:?}", gate.shape(), x.dims)
        }
        match (&self.kept, gate) {
            (Kept::Device(weights), _) => *out = weights.pointwise(x, gate, after)?,
            (Kept::Host { weight, bias }, None) => self.run(weight, bias, x, None, after, out)?,
            (Kept::Host { weight, bias }, Some(gate)) => {
                with_views([&gate.contiguous()?], |[gate]| {
                    self.run(weight, bias, x, Some(gate.data), after, out)
                })?;
            }
        }
        Ok(())
    }

    fn run(
        &self,
        weight: &[f32],
        bias: &[f32],
        x: &Maps,
        gate: Option<&[f32]>,
        after: After<'_>,
        out: &mut Maps,
    ) -> Result<()> {
        let (c, n) = (self.input, self.output);
        let [batch, height, width, _] = x.dims;
        let places = height * width;
        let rows = rows_per_task(places, c + n);
        let weight = Panels::arranged(weight, c, n);
        let (image, image_out) = (places * c, places * n);
        let other = match after {
            After::Add(other) => Some(other.host()?),
            _ => None,
        };
        let (x, out) = (x.host()?, out.reshape([batch, height, width, n]));
        parallel::map_image_chunks(out, image_out, rows * n, |b, at, y| {
            let count = y.len() / n;
            let x = &x[b * image + at / n * c..][..count * c];
            let start = match (other, after) {
                (Some(other), _) => {
                    fill_rows(y, bias);
                    add_to(y, &other[b * image_out + at..][..y.len()]);
                    Start::Out
                }
                (None, After::Activation(_)) => Start::Zero,
                (None, _) => Start::Bias(bias),
            };
            match gate {
                None => weight.product(y, Matrix::new(x, count, c), start),
                Some(gate) => scratch::with(count * c, |gated| {
                    let gate = &gate[b * c..][..c];
                    for (x, gated) in x.chunks_exact(c).zip(gated.chunks_exact_mut(c)) {
                        product_of(x, gate, gated);
                    }
                    weight.product(y, Matrix::new(gated, count, c), start);
                }),
            }
            if let After::Activation(f) = after {
                activation::biased(f, bias, y);
            }
        });
        Ok(())
    }
}

/// Equal parts of an image's positions, each of about [`TASK`] values and not much fewer than [`ROWS`] rows.
fn rows_per_task(places: usize, values: usize) -> usize {
    let rows = (TASK / values.max(1)).max(ROWS);
    places.div_ceil((places / rows).max(1)).max(1)
}
