//! Two-dimensional convolution, channels last.

mod direct;
mod im2col;
mod planes;
mod tiles;
mod winograd;

use crate::autograd::{Differentiable, Gradient, View, apply2, apply3};
use crate::geometry::{ConvSpec, Geometry};
use crate::keeping::Keeping;
use crate::kept::Kept;
use crate::rows::sum_rows;
use candle_core::{Result, Tensor, bail};

/// Caches of the algorithms' transformed weights; which algorithm is used depends on the input.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeptKernels {
    panels: Kept,
    winograd: Kept,
    #[cfg(feature = "cuda")]
    pub(crate) casts: crate::gpu::KeptCasts,
}

impl KeptKernels {
    /// Caches for a kernel and its bias, if their changes are counted.
    pub(crate) fn new(keeping: Keeping) -> Self {
        Self {
            panels: Kept::when(keeping.changes.clone()),
            winograd: Kept::when(keeping.changes),
            #[cfg(feature = "cuda")]
            casts: keeping.casts,
        }
    }
}

/// Convolution (cross-correlation) of `x` `[B, H, W, Ci]` with `w` `[kh, kw, Ci, Co]` (on CUDA `[Co, kh, kw, Ci]`), plus `b`
/// `[Co]`; the result is `[B, Ho, Wo, Co]` with Ho = (H + top + bottom - kh) / stride + 1.
///
/// # Errors
/// If the shapes do not fit or a dtype is not f32.
pub fn conv2d(x: &Tensor, w: &Tensor, b: Option<&Tensor>, spec: ConvSpec) -> Result<Tensor> {
    conv2d_keeping(x, w, b, spec, &KeptKernels::default())
}

/// As [`conv2d`], for weights that do not change between calls with the same `kept`.
pub(crate) fn conv2d_keeping(
    x: &Tensor,
    w: &Tensor,
    b: Option<&Tensor>,
    spec: ConvSpec,
    kept: &KeptKernels,
) -> Result<Tensor> {
    let (&[batch, height, width, channels], &[d0, d1, d2, d3]) = (x.dims(), w.dims()) else {
        bail!(
            "conv2d: x {:?}, w {:?}; expected [B, H, W, Ci] and [kh, kw, Ci, Co]",
            x.shape(),
            w.shape()
        )
    };
    let [kh, kw, ci, co] = match w.device().is_cuda() {
        true => [d1, d2, d3, d0],
        false => [d0, d1, d2, d3],
    };
    if ci != channels || b.is_some_and(|b| b.dims() != [co]) {
        bail!(
            "conv2d: x {:?}, w {:?}, b {:?}; expected [B, H, W, Ci], [kh, kw, Ci, Co], [Co]",
            x.shape(),
            w.shape(),
            b.map(Tensor::shape)
        )
    }
    let [out_height, out_width] = spec.output("conv2d", [height, width], [kh, kw])?;
    let geometry = Geometry {
        batch,
        height,
        width,
        channels,
        out_height,
        out_width,
        out_channels: co,
        kernel: [kh, kw],
        spec,
    };
    let conv = Conv {
        geometry,
        kept: kept.clone(),
    };
    match b {
        Some(b) => apply3(conv, x, w, b),
        None => apply2(conv, x, w),
    }
}

/// The algorithms of a convolution.
enum Algorithm {
    Direct,
    Im2col,
    Winograd,
}

impl Algorithm {
    /// The algorithm for `g`, by its estimated cost in a batch of this many images.
    fn of(g: &Geometry, batch: usize) -> Self {
        let g = &Geometry { batch, ..*g };
        if g.is_pointwise() {
            Self::Direct
        } else if winograd::applies(g) && winograd::cost(g) < im2col::cost(g) {
            Self::Winograd
        } else {
            Self::Im2col
        }
    }
}

pub(crate) struct Conv {
    pub(crate) geometry: Geometry,
    pub(crate) kept: KeptKernels,
}

impl Conv {
    fn run(&self, x: View<'_>, w: View<'_>, b: Option<&[f32]>) -> (Vec<f32>, Vec<usize>) {
        let g = &self.geometry;
        (
            forward(g, BATCH, x.data, w.data, b, &self.kept),
            vec![g.batch, g.out_height, g.out_width, g.out_channels],
        )
    }

    fn gradients(
        &self,
        x: View<'_>,
        w: View<'_>,
        grad: &[f32],
        wanted: [bool; 2],
    ) -> [Gradient; 2] {
        let g = &self.geometry;
        [
            Gradient::when(wanted[0], || input_gradient(g, w.data, grad)),
            Gradient::when(wanted[1], || match Algorithm::of(g, g.batch) {
                Algorithm::Direct => direct::weight_gradient(g, x.data, grad),
                Algorithm::Im2col => im2col::weight_gradient(g, x.data, grad),
                Algorithm::Winograd => winograd::weight_gradient(g, x.data, grad),
            }),
        ]
    }
}

/// The batch size for which the forward pass chooses its algorithm, whatever the batch: the bits of an image must not depend on
/// the others in its batch, so that drawn pictures can be cached.
const BATCH: usize = 16;

fn forward(
    g: &Geometry,
    batch: usize,
    x: &[f32],
    w: &[f32],
    b: Option<&[f32]>,
    kept: &KeptKernels,
) -> Vec<f32> {
    match Algorithm::of(g, batch) {
        Algorithm::Direct => direct::forward(g, x, w, b, &kept.panels),
        Algorithm::Im2col => im2col::forward(g, x, w, b, &kept.panels),
        Algorithm::Winograd => winograd::forward(g, x, w, b, &kept.winograd),
    }
}

/// With stride 1 the input gradient is itself a convolution: of the output gradient with the kernel rotated by 180 degrees and
/// its channels exchanged, padded by k - 1 minus the padding.
fn input_gradient(g: &Geometry, w: &[f32], grad: &[f32]) -> Vec<f32> {
    if g.is_pointwise() {
        return direct::input_gradient(g, w, grad);
    }
    match g.transposed() {
        Some(back) => forward(
            &back,
            back.batch,
            grad,
            &im2col::turn_kernel(g, w),
            None,
            &KeptKernels::default(),
        ),
        None => im2col::scatter(g, w, grad),
    }
}

impl Differentiable<2> for Conv {
    const NAME: &'static str = "conv2d";

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

impl Differentiable<3> for Conv {
    const NAME: &'static str = "conv2d";

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
        let db = Gradient::when(wb, || sum_rows(grad.data, self.geometry.out_channels));
        Ok([dx, dw, db])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kept::Changes;
    use candle_core::Device;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    /// The algorithm depends on the input's size, and so does what is cached.
    #[test]
    fn kept_kernels_serve_inputs_of_any_size() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut random = |shape: &[usize]| {
            let n = shape.iter().product();
            let values: Vec<f32> = (0..n).map(|_| rng.random_range(-1.0..1.0)).collect();
            Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
        };
        let flat = |t: Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (k, ci, co) in [(3, 64, 48), (1, 24, 40)] {
            let (w, b, spec) = (random(&[k, k, ci, co]), random(&[co]), ConvSpec::same(k));
            let changes = Some(Changes::default());
            let kept = KeptKernels {
                panels: Kept::when(changes.clone()),
                winograd: Kept::when(changes),
                #[cfg(feature = "cuda")]
                casts: Default::default(),
            };
            for size in [1, 2, 24, 2, 24] {
                let x = random(&[2, size, size, ci]);
                let want = conv2d(&x, &w, Some(&b), spec).unwrap();
                let got = conv2d_keeping(&x, &w, Some(&b), spec, &kept).unwrap();
                assert!(flat(got) == flat(want), "{k}x{k}, {size} pixels");
            }
        }
    }
}
