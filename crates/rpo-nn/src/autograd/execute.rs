//! Runs an operation on the device of its tensors.

use super::op::{Differentiable, Gradient};
use super::values::Values;
use super::view::{View, with_views};
use candle_core::{Result, Tensor};

/// Values and shape of `op` on contiguous arguments, on any device.
pub(super) fn forward<K: Differentiable<N>, const N: usize>(
    op: &K,
    args: [&Tensor; N],
) -> Result<(Values, Vec<usize>)> {
    #[cfg(feature = "cuda")]
    if args[0].device().is_cuda() {
        return crate::gpu::with_views(args, |gpu, views| {
            let (values, dims) = op.gpu_forward(gpu, views)?;
            Ok((Values::Gpu(values), dims))
        });
    }
    let (values, dims) = with_views(args, |views| op.forward(views))?;
    Ok((Values::Cpu(values), dims))
}

/// The gradients of `op`; see [`Differentiable::backward`].
pub(super) fn backward<K: Differentiable<N>, const N: usize>(
    op: &K,
    args: [&Tensor; N],
    out: &Tensor,
    grad: &Values,
) -> Result<[Gradient<Values>; N]> {
    let wanted = args.map(Tensor::track_op);
    match grad {
        Values::Cpu(grad) => {
            let gradients = with_views(args, |views| {
                with_views([out], |[out]| {
                    let grad = View {
                        data: grad,
                        dims: out.dims,
                    };
                    op.backward(views, wanted, out, grad)
                })
            })?;
            Ok(gradients.map(|g| g.map(Values::Cpu)))
        }
        #[cfg(feature = "cuda")]
        Values::Gpu(grad) => {
            use crate::gpu::with_views;
            let gradients = with_views(args, |gpu, views| {
                with_views([out], |_, [out]| {
                    op.gpu_backward(gpu, views, wanted, out, grad.view(out.dims))
                })
            })?;
            Ok(gradients.map(|g| g.map(Values::Gpu)))
        }
    }
}
