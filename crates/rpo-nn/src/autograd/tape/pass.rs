//! A pass through a network: the public API of the tape.

use super::mode::{Leaves, Mode, leaves, push, record, within};
use super::nodes::{Gradients, Node};
use crate::autograd::values::Values;
use crate::autograd::view::with_views;
use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Result, Shape, Tensor, Var, bail};
use std::sync::{Arc, Mutex, PoisonError};

/// One forward and backward pass of a network.
///
/// While [`record`](Self::record) or [`part`](Self::part) runs its closure, the operations of this thread, and of no other, are
/// recorded on the tape instead of candle's graph, or not at all in a part that will be recomputed. A network must therefore be
/// called on the thread that records it. The previous mode is restored when the closure ends, also by an error or a panic; parts
/// cannot be nested in parts that are recomputed.
#[derive(Clone)]
pub struct Tape {
    recompute: bool,
    collected: Arc<Mutex<Gradients>>,
    /// The argument of the recorded results in candle's graph: without a tracked one the backward pass would not reach them.
    anchor: Var,
}

impl std::fmt::Debug for Tape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tape")
    }
}

impl Tape {
    /// For one pass; with `recompute`, [parts](Self::part) are recomputed in the backward pass.
    ///
    /// # Errors
    /// Those of tensors.
    pub fn new(recompute: bool) -> Result<Self> {
        Ok(Self {
            recompute,
            collected: Arc::default(),
            anchor: Var::zeros((), DType::F32, &Device::Cpu)?,
        })
    }

    /// Runs `f`, whose result must depend on variables only through operations of this crate, as one node of candle's graph.
    ///
    /// # Errors
    /// Those of `f`; an operation that the tape does not support.
    pub fn record(&self, f: impl FnOnce() -> Result<Tensor>) -> Result<Tensor> {
        let (out, nodes) = record(f)?;
        check_result(&out)?;
        let root = Root {
            out,
            nodes: Mutex::new(nodes),
            collected: self.collected.clone(),
        };
        self.anchor.as_tensor().apply_op1(root)
    }

    /// A part of the recording, which must return the same values when called again.
    ///
    /// # Errors
    /// Those of `f`.
    pub fn part(&self, f: impl Fn() -> Result<Tensor> + Send + Sync + 'static) -> Result<Tensor> {
        if !self.recompute {
            return f();
        }
        if leaves() != Leaves::Tape {
            bail!("tape: a part outside of `record`: its gradients would be lost")
        }
        let (result, _) = within(Mode::Plain, &f)?;
        let out = Values::copy(&result)?.into_tensor(result.dims(), result.device(), true)?;
        push(Node::Part {
            out: out.clone(),
            again: Box::new(f),
        });
        Ok(out)
    }

    /// `loss.backward()` with the gradients of all variables of the recorded operations.
    ///
    /// # Errors
    /// Those of the backward pass.
    pub fn backward(self, loss: &Tensor) -> Result<GradStore> {
        let mut grads = loss.backward()?;
        grads.remove(&self.anchor);
        let mut collected = self
            .collected
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *collected).store(&mut grads)?;
        Ok(grads)
    }
}

/// Whether the tensor depends on variables through an operation of candle's, whose gradient a tape would lose.
pub(crate) fn is_foreign(t: &Tensor) -> bool {
    t.track_op() && !t.is_variable()
}

fn check_result(out: &Tensor) -> Result<()> {
    if is_foreign(out) {
        bail!(
            "tape: the result {:?} is that of an operation that the tape does not know",
            out.shape()
        )
    }
    Ok(())
}

/// Processes the nodes from last to first, freeing each.
fn walk(mut nodes: Vec<Node>, gradients: &mut Gradients) -> Result<()> {
    while let Some(node) = nodes.pop() {
        match node {
            Node::Operation { out, op } => {
                if let Some(grad) = gradients.take(&out) {
                    op.backward(&out, grad, gradients)?;
                }
            }
            Node::Part { out, again } => {
                if let Some(grad) = gradients.take(&out) {
                    let (result, nodes) = record(again)?;
                    check_result(&result)?;
                    gradients.add(&result, grad)?;
                    walk(nodes, gradients)?;
                }
            }
        }
    }
    Ok(())
}

/// The result of a recording.
struct Root {
    out: Tensor,
    nodes: Mutex<Vec<Node>>,
    collected: Arc<Mutex<Gradients>>,
}

impl CustomOp1 for Root {
    fn name(&self) -> &'static str {
        "tape"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        with_views([&self.out], |[out]| {
            let storage = CpuStorage::F32(out.data.to_vec());
            Ok((storage, self.out.shape().clone()))
        })
    }

    fn bwd(&self, _anchor: &Tensor, _out: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = with_views([&grad.contiguous()?], |[grad]| Ok(grad.data.to_vec()))?;
        let nodes = {
            let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *nodes)
        };
        let mut collected = self
            .collected
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        collected.add(&self.out, Arc::new(Values::Cpu(grad)))?;
        walk(nodes, &mut collected)?;
        Ok(None)
    }
}
