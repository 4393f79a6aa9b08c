//! A small tape: what a network did, written down as it ran, and its backward pass.
//!
//! candle's own backward pass makes a tensor of zeros and a sum for every edge of the graph, and holds all activations until it
//! is over. Here a gradient is moved into its place, added where it stands, and every activation is freed once it was used.
//!
//! Gradient checkpointing (Chen et al. 2016): a [`part`](Tape::part) keeps only its inputs and is computed again in the backward
//! pass, so that memory holds the activations of one part instead of all.

use crate::autograd::{self, Differentiable, Gradient, with_views};
use crate::values::Values;
use candle_core::backprop::GradStore;
use candle_core::{
    CpuStorage, CustomOp1, DType, Device, Layout, Result, Shape, Tensor, TensorId, Var, bail,
};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What the operations of this thread leave behind.
enum Mode {
    /// Nodes of candle's graph.
    Candle,
    /// Nodes of a tape.
    Record(Vec<Node>),
    /// Nothing.
    Plain,
}

thread_local! {
    static MODE: RefCell<Mode> = const { RefCell::new(Mode::Candle) };
}

/// Runs `f` in `mode`; returns its result and what the mode became.
fn within<T>(mode: Mode, f: impl FnOnce() -> Result<T>) -> Result<(T, Mode)> {
    /// Also after a panic the thread is as it was.
    struct Restore(Option<Mode>);
    impl Drop for Restore {
        fn drop(&mut self) {
            if let Some(mode) = self.0.take() {
                MODE.replace(mode);
            }
        }
    }
    let mut before = Restore(Some(MODE.replace(mode)));
    let result = f();
    let after = MODE.replace(before.0.take().unwrap_or(Mode::Candle));
    Ok((result?, after))
}

/// What `f` recorded, and its result.
fn record<T>(f: impl FnOnce() -> Result<T>) -> Result<(T, Vec<Node>)> {
    match within(Mode::Record(Vec::new()), f)? {
        (result, Mode::Record(nodes)) => Ok((result, nodes)),
        _ => bail!("tape: the recording was replaced"),
    }
}

/// Whether the tensor comes of variables by an operation of candle's, whose gradient a tape would lose.
fn is_foreign(t: &Tensor) -> bool {
    t.track_op() && !t.is_variable()
}

/// Gradients by the tensor they belong to; shared values are copied when they are added to.
#[derive(Default)]
pub(crate) struct Gradients(HashMap<TensorId, (Tensor, Arc<Values>)>);

impl Gradients {
    pub(crate) fn add(&mut self, tensor: &Tensor, values: Arc<Values>) -> Result<()> {
        match self.0.get_mut(&tensor.id()) {
            Some((_, sum)) => Values::add(tensor, sum, &values)?,
            None => {
                self.0.insert(tensor.id(), (tensor.clone(), values));
            }
        }
        Ok(())
    }

    /// Goes through the nodes from the last to the first, freeing each.
    fn walk(&mut self, mut nodes: Vec<Node>) -> Result<()> {
        while let Some(node) = nodes.pop() {
            match node {
                Node::Operation { out, op } => {
                    if let Some((_, grad)) = self.0.remove(&out.id()) {
                        op.backward(&out, grad, self)?;
                    }
                }
                Node::Part { out, again } => {
                    if let Some((_, grad)) = self.0.remove(&out.id()) {
                        let (result, nodes) = record(again)?;
                        check_result(&result)?;
                        self.add(&result, grad)?;
                        self.walk(nodes)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn store(self, into: &mut GradStore) -> Result<()> {
        for (tensor, values) in self.0.into_values() {
            let values = match Arc::try_unwrap(values) {
                Ok(values) => values,
                // Two tensors of one sum have the same gradient.
                Err(shared) => shared.duplicate(&tensor)?,
            };
            let grad = values.into_tensor(tensor.dims(), tensor.device(), false)?;
            into.insert(&tensor, grad);
        }
        Ok(())
    }
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

type Again = Box<dyn Fn() -> Result<Tensor> + Send + Sync>;

enum Node {
    Operation { out: Tensor, op: Box<dyn Backward> },
    Part { out: Tensor, again: Again },
}

/// An operation with the arguments it had.
pub(crate) trait Backward: Send + Sync {
    fn backward(&self, out: &Tensor, grad: Arc<Values>, into: &mut Gradients) -> Result<()>;
}

struct Applied<K, const N: usize> {
    op: K,
    args: [Tensor; N],
}

impl<K: Differentiable<N>, const N: usize> Backward for Applied<K, N> {
    fn backward(&self, out: &Tensor, grad: Arc<Values>, into: &mut Gradients) -> Result<()> {
        let args = self.args.each_ref();
        let gradients = autograd::backward(&self.op, args, out, &grad)?;
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

/// Applies `op` in the mode of this thread; gives it back where it should become a node of candle's graph. A result that depends
/// on a variable is a variable of its own, so that an operation of candle's on it cannot pass unseen.
pub(crate) fn apply<K: Differentiable<N>, const N: usize>(
    op: K,
    args: [Tensor; N],
) -> Result<std::result::Result<Tensor, (K, [Tensor; N])>> {
    let tracked = args.iter().any(Tensor::track_op);
    let recording = MODE.with_borrow(|mode| match mode {
        Mode::Candle => None,
        Mode::Record(_) => Some(true),
        Mode::Plain => Some(false),
    });
    let recording = match recording {
        Some(recording) => recording && tracked,
        None if tracked => return Ok(Err((op, args))),
        None => false,
    };
    if recording && let Some(arg) = args.iter().find(|a| is_foreign(a)) {
        bail!(
            "{}: an argument {:?} is the result of an operation that the tape does not know",
            K::NAME,
            arg.shape()
        )
    }
    let (values, dims) = autograd::forward(&op, args.each_ref())?;
    let out = values.into_tensor(&dims, args[0].device(), recording)?;
    if recording {
        remember(&out, Applied { op, args });
    }
    Ok(Ok(out))
}

/// Writes down how the gradient of `out`, a variable, goes on.
pub(crate) fn remember(out: &Tensor, op: impl Backward + 'static) {
    push(Node::Operation {
        out: out.clone(),
        op: Box::new(op),
    });
}

/// Whether operations of this thread are written down.
pub(crate) fn is_recording() -> bool {
    MODE.with_borrow(|mode| matches!(mode, Mode::Record(_)))
}

/// Whether an operation on these would be remembered for a gradient.
pub(crate) fn is_watched(args: &[&Tensor]) -> bool {
    args.iter().any(|arg| arg.track_op()) && MODE.with_borrow(|mode| !matches!(mode, Mode::Plain))
}

fn push(node: Node) {
    MODE.with_borrow_mut(|mode| {
        if let Mode::Record(nodes) = mode {
            nodes.push(node);
        }
    });
}

/// One forward and backward pass of a network.
#[derive(Clone)]
pub struct Tape {
    recompute: bool,
    collected: Arc<Mutex<Gradients>>,
    /// The argument of the recorded results in candle's graph: without one that is tracked the backward pass would not come by.
    anchor: Var,
}

impl std::fmt::Debug for Tape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tape")
    }
}

impl Tape {
    /// For one pass; with `recompute`, [parts](Self::part) are computed again in the backward pass.
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

    /// `f`, whose result depends on variables by operations of this crate alone, as one node of candle's graph.
    ///
    /// # Errors
    /// Those of `f`; an operation that the tape does not know.
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

    /// A part of what is recorded, which must return the same values when it is called again.
    ///
    /// # Errors
    /// Those of `f`.
    pub fn part(&self, f: impl Fn() -> Result<Tensor> + Send + Sync + 'static) -> Result<Tensor> {
        if !self.recompute {
            return f();
        }
        if !is_recording() {
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
        collected.walk(nodes)?;
        Ok(None)
    }
}
