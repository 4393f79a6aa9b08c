//! A 1x1 convolution and what surrounds it.

use super::Maps;
use crate::autograd::with_views;
use crate::matrix::{Matrix, Panels, Start};
use crate::ops::elementwise::product_of;
use crate::ops::rows::{add_to, fill_rows};
use crate::ops::{Activation, activation};
use crate::parallel;
use crate::scratch;
use candle_core::{Result, Tensor, bail};

/// Values that a task reads and writes together: they stay in the second-level cache.
const TASK: usize = 96 * 1024;
/// Rows of a task, at least: so many uses pay for fetching the weights.
const ROWS: usize = 48;

/// A 1x1 convolution with a bias.
#[derive(Clone, Debug)]
pub struct Pointwise {
    /// W^T in panels.
    weight: Vec<f32>,
    bias: Vec<f32>,
    input: usize,
    output: usize,
}

/// What is done with the result.
#[derive(Clone, Copy, Debug)]
pub enum After<'a> {
    /// Nothing.
    Nothing,
    /// The function of every value.
    Activation(Activation),
    /// The sum with these maps of the result's size.
    Add(&'a Maps),
}

impl Pointwise {
    /// `weight` is `[output, input]`, `bias` `[output]`.
    ///
    /// # Errors
    /// Shapes that do not fit, a dtype other than f32.
    pub fn new(weight: &Tensor, bias: &Tensor) -> Result<Self> {
        let (output, input) = weight.dims2()?;
        if bias.dims() != [output] {
            bail!(
                "pointwise: weight {:?}, bias {:?}; expected [output, input] and [output]",
                weight.shape(),
                bias.shape()
            )
        }
        Ok(Self {
            weight: with_views([&weight.contiguous()?], |[w]| {
                Ok(Panels::arrange(Matrix::new(w.data, output, input).t()))
            })?,
            bias: bias.to_vec1()?,
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
        out.reshape(dims);
        match gate {
            None => self.run(x, None, after, out),
            Some(gate) if gate.dims() != [batch, c] => {
                bail!("pointwise: gate {:?}, maps {:?}", gate.shape(), x.dims)
            }
            Some(gate) => with_views([&gate.contiguous()?], |[gate]| {
                self.run(x, Some(gate.data), after, out);
                Ok(())
            })?,
        }
        Ok(())
    }

    fn run(&self, x: &Maps, gate: Option<&[f32]>, after: After<'_>, out: &mut Maps) {
        let (c, n) = (self.input, self.output);
        let places = x.dims[1] * x.dims[2];
        let rows = rows_per_task(places, c + n);
        let weight = Panels::arranged(&self.weight, c, n);
        let (image, image_out) = (x.image(), out.image());
        parallel::map_image_chunks(&mut out.values, image_out, rows * n, |b, at, y| {
            let count = y.len() / n;
            let x = &x.values[b * image + at / n * c..][..count * c];
            let start = match after {
                After::Add(other) => {
                    fill_rows(y, &self.bias);
                    add_to(y, &other.values[b * image_out + at..][..y.len()]);
                    Start::Out
                }
                After::Nothing => Start::Bias(&self.bias),
                After::Activation(_) => Start::Zero,
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
                activation::biased(f, &self.bias, y);
            }
        });
    }
}

/// Equal parts of an image's places, each of about [`TASK`] values and not much fewer than [`ROWS`] rows.
fn rows_per_task(places: usize, values: usize) -> usize {
    let rows = (TASK / values.max(1)).max(ROWS);
    places.div_ceil((places / rows).max(1)).max(1)
}
