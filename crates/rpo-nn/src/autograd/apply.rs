//! Applies operations, and decides what each records for a backward pass.
//!
//! With tracked arguments it becomes a node of candle's graph, a step of a tape, or nothing, by the mode of the thread (see
//! `tape/mode.rs`, also for why it is per thread); with untracked ones always nothing.

use super::bridge::Bridge;
use super::execute;
use super::op::{Differentiable, Gradient};
use super::tape::{self, Backward, Gradients, Leaves};
use super::values::Values;
use candle_core::{DType, Device, Result, Tensor, bail};
use std::sync::Arc;

/// Applies `op`; arguments that are not contiguous are copied first.
pub(crate) fn apply1<K: Differentiable<1>>(op: K, a: &Tensor) -> Result<Tensor> {
    match apply(op, [prepare(K::NAME, a)?])? {
        Ok(out) => Ok(out),
        Err((op, [a])) => a.apply_op1(Bridge(op)),
    }
}

/// See [`apply1`].
pub(crate) fn apply2<K: Differentiable<2>>(op: K, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    match apply(op, [prepare(K::NAME, a)?, prepare(K::NAME, b)?])? {
        Ok(out) => Ok(out),
        Err((op, [a, b])) => a.apply_op2(&b, Bridge(op)),
    }
}

/// See [`apply1`].
pub(crate) fn apply3<K: Differentiable<3>>(
    op: K,
    a: &Tensor,
    b: &Tensor,
    c: &Tensor,
) -> Result<Tensor> {
    let args = [
        prepare(K::NAME, a)?,
        prepare(K::NAME, b)?,
        prepare(K::NAME, c)?,
    ];
    match apply(op, args)? {
        Ok(out) => Ok(out),
        Err((op, [a, b, c])) => a.apply_op3(&b, &c, Bridge(op)),
    }
}

fn prepare(name: &str, t: &Tensor) -> Result<Tensor> {
    match (t.device(), t.dtype()) {
        (Device::Cpu, DType::F32) => t.contiguous(),
        (Device::Cpu, dtype) => bail!(
            "{name}: an argument {:?} is {dtype:?}, these operations take f32",
            t.shape()
        ),
        // candle's own CUDA kernels, which could copy it, are not part of the program.
        (Device::Cuda(_), _) if t.is_contiguous() => Ok(t.clone()),
        (device, _) => bail!(
            "{name}: an argument {:?} on {:?} cannot be used, or is not contiguous",
            t.shape(),
            device.location()
        ),
    }
}

/// Applies `op` in the mode of this thread; returns `op` if it should become a node of candle's graph. A result that depends on a
/// variable is itself a variable, so that a later operation of candle's on it is detected.
fn apply<K: Differentiable<N>, const N: usize>(
    op: K,
    args: [Tensor; N],
) -> Result<std::result::Result<Tensor, (K, [Tensor; N])>> {
    let tracked = args.iter().any(Tensor::track_op);
    let recording = match tape::leaves() {
        Leaves::Candle if tracked => return Ok(Err((op, args))),
        Leaves::Tape => tracked,
        Leaves::Candle | Leaves::Nothing => false,
    };
    if recording && let Some(arg) = args.iter().find(|a| tape::is_foreign(a)) {
        bail!(
            "{}: an argument {:?} is the result of an operation that the tape does not know",
            K::NAME,
            arg.shape()
        )
    }
    let (values, dims) = execute::forward(&op, args.each_ref())?;
    let out = values.into_tensor(&dims, args[0].device(), recording)?;
    if recording {
        tape::remember(&out, Applied { op, args });
    }
    Ok(Ok(out))
}

/// A step of a tape.
struct Applied<K, const N: usize> {
    op: K,
    args: [Tensor; N],
}

impl<K: Differentiable<N>, const N: usize> Backward for Applied<K, N> {
    fn backward(&self, out: &Tensor, grad: Arc<Values>, into: &mut Gradients) -> Result<()> {
        let args = self.args.each_ref();
        let gradients = execute::backward(&self.op, args, out, &grad)?;
        for (arg, gradient) in args.into_iter().zip(gradients) {
            match gradient {
                Gradient::None => {}
                Gradient::Same => into.add(arg, grad.clone())?,
                Gradient::Values(values) => into.add(arg, Arc::new(values))?,
            }
        }
        Ok(())
    }
}

/// Whether an operation on these would be recorded for a gradient.
pub(crate) fn is_watched(args: &[&Tensor]) -> bool {
    args.iter().any(|arg| arg.track_op()) && tape::leaves() != Leaves::Nothing
}
