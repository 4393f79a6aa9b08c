//! Operations: their values and their gradients.

use super::view::View;
#[cfg(feature = "cuda")]
use crate::gpu::{Buffer, Gpu, GpuView};
use candle_core::Result;
#[cfg(feature = "cuda")]
use candle_core::bail;

/// The gradient with respect to one argument.
pub(crate) enum Gradient<V = Vec<f32>> {
    /// Not wanted.
    None,
    /// The gradient of the result itself, in the shape of the argument.
    Same,
    /// These values, in the shape of the argument.
    Values(V),
}

impl<V> Gradient<V> {
    /// `Values(f())` if wanted.
    pub(crate) fn when(wanted: bool, f: impl FnOnce() -> V) -> Self {
        if wanted {
            Self::Values(f())
        } else {
            Self::None
        }
    }

    pub(crate) fn same_when(wanted: bool) -> Self {
        if wanted { Self::Same } else { Self::None }
    }

    pub(super) fn map<U>(self, f: impl FnOnce(V) -> U) -> Gradient<U> {
        match self {
            Self::None => Gradient::None,
            Self::Same => Gradient::Same,
            Self::Values(values) => Gradient::Values(f(values)),
        }
    }
}

/// An operation of `N` arguments on slices. Shapes are checked before it is applied.
pub(crate) trait Differentiable<const N: usize>: OnGpu<N> + Send + Sync + 'static {
    const NAME: &'static str;

    /// Values and shape of the result.
    fn forward(&self, args: [View<'_>; N]) -> Result<(Vec<f32>, Vec<usize>)>;

    /// The gradients of the arguments that are wanted, from the result `out` and its gradient `grad`.
    fn backward(
        &self,
        args: [View<'_>; N],
        wanted: [bool; N],
        out: View<'_>,
        grad: View<'_>,
    ) -> Result<[Gradient; N]>;
}

/// The GPU half of an operation of `N` arguments; the arguments are those of [`Differentiable`].
#[cfg(feature = "cuda")]
pub(crate) trait OnGpu<const N: usize> {
    /// Values and shape of the result.
    fn gpu_forward(&self, _gpu: &Gpu, _args: [GpuView<'_>; N]) -> Result<(Buffer, Vec<usize>)> {
        bail!("this operation is not known on CUDA")
    }

    /// The gradients that are wanted, each in the dtype of its argument or f32.
    fn gpu_backward(
        &self,
        _gpu: &Gpu,
        _args: [GpuView<'_>; N],
        _wanted: [bool; N],
        _out: GpuView<'_>,
        _grad: GpuView<'_>,
    ) -> Result<[Gradient<Buffer>; N]> {
        bail!("this operation has no gradient on CUDA")
    }
}

/// The GPU half of an operation, empty in builds without CUDA.
#[cfg(not(feature = "cuda"))]
pub(crate) trait OnGpu<const N: usize> {}
#[cfg(not(feature = "cuda"))]
impl<K, const N: usize> OnGpu<N> for K {}
