//! Depthwise convolution: every channel has its own kernel.

pub(crate) mod kernel;

use crate::autograd::{Differentiable, Gradient, View, apply2, apply3};
use crate::geometry::ConvSpec;
use crate::math::fma;
use crate::parallel;
use crate::rows::{sum_parts, sum_rows};
use crate::simd::simd;
use candle_core::{Result, Tensor, bail};
use kernel::{Packed, Sizes};

pub(crate) struct Depthwise {
    pub(crate) spec: ConvSpec,
    pub(crate) output: [usize; 2],
}

/// Depthwise convolution of `x` `[B, H, W, C]` with `w` `[kh, kw, C]`, plus `b` `[C]`; the result is `[B, Ho, Wo, C]`.
///
/// # Errors
/// If the shapes do not fit or a dtype is not f32.
pub fn depthwise_conv2d(
    x: &Tensor,
    w: &Tensor,
    b: Option<&Tensor>,
    spec: ConvSpec,
) -> Result<Tensor> {
    let (&[_, height, width, channels], &[kh, kw, c]) = (x.dims(), w.dims()) else {
        bail!(
            "depthwise_conv2d: x {:?}, w {:?}; expected [B, H, W, C] and [kh, kw, C]",
            x.shape(),
            w.shape()
        )
    };
    if c != channels || b.is_some_and(|b| b.dims() != [c]) {
        bail!(
            "depthwise_conv2d: x {:?}, w {:?}, b {:?}; expected [B, H, W, C], [kh, kw, C], [C]",
            x.shape(),
            w.shape(),
            b.map(Tensor::shape)
        )
    }
    let output = spec.output("depthwise_conv2d", [height, width], [kh, kw])?;
    let op = Depthwise { spec, output };
    match b {
        Some(b) => apply3(op, x, w, b),
        None => apply2(op, x, w),
    }
}

#[inline(always)]
fn multiply_add_body<const FMA: bool>(out: &mut [f32], x: &[f32], w: &[f32]) {
    for ((out, &x), &w) in out.iter_mut().zip(x).zip(w) {
        *out = fma::<FMA>(x, w, *out);
    }
}

simd! {
    /// out += x * w, element by element.
    fn multiply_add(out: &mut [f32], x: &[f32], w: &[f32]) = multiply_add_body;
}

impl Depthwise {
    /// Calls `f(tap, input position, output column)` for every tap of output row `oy` that lies inside the input.
    fn taps(
        &self,
        oy: usize,
        input: [usize; 2],
        kernel: [usize; 2],
        mut f: impl FnMut(usize, usize, usize),
    ) {
        let [top, _, left, _] = self.spec.padding;
        for ky in 0..kernel[0] {
            let Some(iy) = (oy * self.spec.stride + ky)
                .checked_sub(top)
                .filter(|&i| i < input[0])
            else {
                continue;
            };
            for kx in 0..kernel[1] {
                for ox in 0..self.output[1] {
                    let ix = (ox * self.spec.stride + kx).checked_sub(left);
                    if let Some(ix) = ix.filter(|&i| i < input[1]) {
                        f(ky * kernel[1] + kx, iy * input[1] + ix, ox);
                    }
                }
            }
        }
    }

    fn run(&self, x: View<'_>, w: View<'_>, b: Option<&[f32]>) -> (Vec<f32>, Vec<usize>) {
        let &[batch, height, width, c] = x.dims else {
            unreachable!("checked: x has four dimensions")
        };
        let sizes = Sizes {
            spec: self.spec,
            input: [height, width],
            output: self.output,
        };
        let packed = Packed::new(w.data, b, [w.dims[0], w.dims[1]], c);
        let [out_height, out_width] = self.output;
        let (image, row) = (out_height * out_width * c, out_width * c);
        let y = parallel::build_images(batch * image, image, sizes.band() * row, |b, at, y| {
            let x = &x.data[b * height * width * c..][..height * width * c];
            kernel::rows(&packed, &sizes, x, at / row, y, false);
        });
        (y, vec![batch, out_height, out_width, c])
    }

    fn gradients(
        &self,
        x: View<'_>,
        w: View<'_>,
        grad: &[f32],
        wanted: [bool; 2],
    ) -> [Gradient; 2] {
        let (input, kernel, c) = ([x.dims[1], x.dims[2]], [w.dims[0], w.dims[1]], x.dims[3]);
        let [out_height, out_width] = self.output;
        let (image, out_image) = (input[0] * input[1] * c, out_height * out_width * c);
        [
            Gradient::when(wanted[0], || {
                let mut dx = vec![0f32; x.data.len()];
                parallel::for_chunks(&mut dx, image, |b, dx| {
                    for oy in 0..out_height {
                        let grad = &grad[b * out_image + oy * out_width * c..][..out_width * c];
                        self.taps(oy, input, kernel, |tap, to, ox| {
                            multiply_add(
                                &mut dx[to * c..][..c],
                                &grad[ox * c..][..c],
                                &w.data[tap * c..][..c],
                            );
                        });
                    }
                });
                dx
            }),
            Gradient::when(wanted[1], || {
                // One partial sum per output row in f32, summed in f64.
                let parts = parallel::map(x.dims[0], |b| {
                    let mut total = vec![0f64; w.data.len()];
                    let mut row = vec![0f32; w.data.len()];
                    for oy in 0..out_height {
                        row.fill(0.0);
                        let grad = &grad[b * out_image + oy * out_width * c..][..out_width * c];
                        let x = &x.data[b * image..][..image];
                        self.taps(oy, input, kernel, |tap, from, ox| {
                            multiply_add(
                                &mut row[tap * c..][..c],
                                &x[from * c..][..c],
                                &grad[ox * c..][..c],
                            );
                        });
                        for (total, &row) in total.iter_mut().zip(&row) {
                            *total += f64::from(row);
                        }
                    }
                    total
                });
                sum_parts(parts, w.data.len())
            }),
        ]
    }
}

impl Differentiable<2> for Depthwise {
    const NAME: &'static str = "depthwise_conv2d";

    fn forward(&self, [x, w]: [View<'_>; 2]) -> Result<(Vec<f32>, Vec<usize>)> {
        Ok(self.run(x, w, None))
    }

    fn backward(
        &self,
        [x, w]: [View<'_>; 2],
        wanted: [bool; 2],
        _out: View<'_>,
        grad: View<'_>,
    ) -> Result<[Gradient; 2]> {
        Ok(self.gradients(x, w, grad.data, wanted))
    }
}

impl Differentiable<3> for Depthwise {
    const NAME: &'static str = "depthwise_conv2d";

    fn forward(&self, [x, w, b]: [View<'_>; 3]) -> Result<(Vec<f32>, Vec<usize>)> {
        Ok(self.run(x, w, Some(b.data)))
    }

    fn backward(
        &self,
        [x, w, _]: [View<'_>; 3],
        [wx, ww, wb]: [bool; 3],
        _out: View<'_>,
        grad: View<'_>,
    ) -> Result<[Gradient; 3]> {
        let [dx, dw] = self.gradients(x, w, grad.data, [wx, ww]);
        Ok([
            dx,
            dw,
            Gradient::when(wb, || sum_rows(grad.data, x.dims[3])),
        ])
    }
}
