//! y = x W^T + b.

use crate::autograd::{Differentiable, Gradient, View, apply2, apply3};
use crate::keeping::Keeping;
use crate::kept::Kept;
use crate::matrix::{Matrix, product_keeping, product_long, product_new};
use crate::rows::sum_rows;
use candle_core::{Result, Tensor, bail};

pub(crate) struct Linear {
    pub(crate) kept: KeptWeights,
}

/// Caches of values derived from a layer's weights.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeptWeights {
    /// W^T in panels.
    pub(crate) panels: Kept,
    #[cfg(feature = "cuda")]
    pub(crate) casts: crate::gpu::KeptCasts,
}

impl KeptWeights {
    /// Caches for a weight and its bias, if their changes are counted.
    pub(crate) fn new(keeping: Keeping) -> Self {
        Self {
            panels: Kept::when(keeping.changes),
            #[cfg(feature = "cuda")]
            casts: keeping.casts,
        }
    }
}

/// y = x W^T + b for `x` `[.., in]`, `w` `[out, in]`, `b` `[out]`; the result is `[.., out]`.
///
/// # Errors
/// If the shapes do not fit or a dtype is not f32.
pub fn linear(x: &Tensor, w: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
    linear_keeping(x, w, b, &KeptWeights::default())
}

/// As [`linear`], for weights that do not change between calls with the same `kept`.
pub(crate) fn linear_keeping(
    x: &Tensor,
    w: &Tensor,
    b: Option<&Tensor>,
    kept: &KeptWeights,
) -> Result<Tensor> {
    let (&[rows, cols], Some(&last)) = (w.dims(), x.dims().last()) else {
        bail!(
            "linear: x {:?}, w {:?}; expected [.., in] and [out, in]",
            x.shape(),
            w.shape()
        )
    };
    if last != cols || b.is_some_and(|b| b.dims() != [rows]) {
        bail!(
            "linear: x {:?}, w {:?}, b {:?}; expected [.., in], [out, in], [out]",
            x.shape(),
            w.shape(),
            b.map(Tensor::shape)
        )
    }
    let linear = Linear { kept: kept.clone() };
    match b {
        Some(b) => apply3(linear, x, w, b),
        None => apply2(linear, x, w),
    }
}

fn forward(x: View<'_>, w: View<'_>, b: Option<&[f32]>, kept: &Kept) -> (Vec<f32>, Vec<usize>) {
    let (o, i) = (w.dims[0], w.dims[1]);
    let rows = x.dims[..x.dims.len() - 1].iter().product();
    let y = product_keeping(
        Matrix::new(x.data, rows, i),
        Matrix::new(w.data, o, i).t(),
        b,
        kept,
    );
    let mut dims = x.dims.to_vec();
    *dims.last_mut().expect("checked: x has a last dimension") = o;
    (y, dims)
}

fn backward(x: View<'_>, w: View<'_>, grad: &[f32], wanted: [bool; 2]) -> [Gradient; 2] {
    let (o, i) = (w.dims[0], w.dims[1]);
    let rows = x.dims[..x.dims.len() - 1].iter().product();
    let g = Matrix::new(grad, rows, o);
    [
        Gradient::when(wanted[0], || product_new(g, Matrix::new(w.data, o, i))),
        Gradient::when(wanted[1], || {
            product_long(g.t(), Matrix::new(x.data, rows, i))
        }),
    ]
}

impl Differentiable<2> for Linear {
    const NAME: &'static str = "linear";

    fn forward(&self, [x, w]: [View<'_>; 2]) -> Result<(Vec<f32>, Vec<usize>)> {
        Ok(forward(x, w, None, &self.kept.panels))
    }

    fn backward(
        &self,
        [x, w]: [View<'_>; 2],
        wanted: [bool; 2],
        _out: View<'_>,
        grad: View<'_>,
    ) -> Result<[Gradient; 2]> {
        Ok(backward(x, w, grad.data, wanted))
    }
}

impl Differentiable<3> for Linear {
    const NAME: &'static str = "linear";

    fn forward(&self, [x, w, b]: [View<'_>; 3]) -> Result<(Vec<f32>, Vec<usize>)> {
        Ok(forward(x, w, Some(b.data), &self.kept.panels))
    }

    fn backward(
        &self,
        [x, w, b]: [View<'_>; 3],
        [wx, ww, wb]: [bool; 3],
        _out: View<'_>,
        grad: View<'_>,
    ) -> Result<[Gradient; 3]> {
        let [dx, dw] = backward(x, w, grad.data, [wx, ww]);
        let db = Gradient::when(wb, || sum_rows(grad.data, b.data.len()));
        Ok([dx, dw, db])
    }
}
