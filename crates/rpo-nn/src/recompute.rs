//! Gradient checkpointing (Chen et al. 2016): a part of the network keeps only its inputs and is computed again in the
//! backward pass, so that memory holds the activations of one part instead of all.

use candle_core::backprop::GradStore;
use candle_core::{
    CpuStorage, CustomOp3, Device, Error, Layout, Result, Shape, Storage, Tensor, Var, bail,
};
use std::sync::{Arc, Mutex, PoisonError};

/// One forward and backward pass with recomputed parts.
///
/// Parameters of a recomputed part are no arguments of a node in the outer graph, so their gradients are collected here
/// and handed out by [`backward`](Self::backward).
#[derive(Clone)]
pub struct Recompute {
    collected: Arc<Mutex<GradStore>>,
    /// An argument of every part: without a tracked one the outer backward pass would not visit it.
    anchor: Var,
}

impl std::fmt::Debug for Recompute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recompute")
    }
}

struct Part<F> {
    function: F,
    /// The result, computed before the op is applied and taken by its forward.
    ready: Mutex<Option<Tensor>>,
    collected: Arc<Mutex<GradStore>>,
}

impl Recompute {
    /// For one pass.
    ///
    /// # Errors
    /// Those of tensors.
    pub fn new() -> Result<Self> {
        Ok(Self {
            collected: Arc::default(),
            anchor: Var::zeros((), candle_core::DType::F32, &Device::Cpu)?,
        })
    }

    /// `function(x, shared)`, which must return the same values when it is called again. Gradients reach `x`, `shared`
    /// and every variable that `function` holds.
    ///
    /// # Errors
    /// Those of `function`.
    pub fn part(
        &self,
        x: &Tensor,
        shared: &Tensor,
        function: impl Fn(&Tensor, &Tensor) -> Result<Tensor> + Send + Sync + 'static,
    ) -> Result<Tensor> {
        let ready = function(&x.detach(), &shared.detach())?.detach();
        let part = Part {
            function,
            ready: Mutex::new(Some(ready)),
            collected: self.collected.clone(),
        };
        x.apply_op3(shared, self.anchor.as_tensor(), part)
    }

    /// `loss.backward()` with the gradients of the recomputed parts' parameters.
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
        grads.extend(std::mem::take(&mut *collected))?;
        Ok(grads)
    }
}

impl<F: Fn(&Tensor, &Tensor) -> Result<Tensor> + Send + Sync> CustomOp3 for Part<F> {
    fn name(&self) -> &'static str {
        "recompute"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let ready = self
            .ready
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let ready = ready
            .ok_or_else(|| Error::msg("recompute: the result was taken before"))?
            .contiguous()?;
        let (storage, layout) = ready.storage_and_layout();
        match (&*storage, layout.contiguous_offsets()) {
            (Storage::Cpu(storage), Some((from, to))) => {
                let values = storage.as_slice::<f32>()?[from..to].to_vec();
                Ok((CpuStorage::F32(values), ready.shape().clone()))
            }
            _ => bail!(
                "recompute: the result {:?} is not on the CPU",
                ready.shape()
            ),
        }
    }

    fn bwd(
        &self,
        x: &Tensor,
        shared: &Tensor,
        _anchor: &Tensor,
        _result: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (x_var, shared_var) = (
            Var::from_tensor(&x.detach())?,
            Var::from_tensor(&shared.detach())?,
        );
        let input = |tracked: bool, var: &Var| match tracked {
            true => var.as_tensor().clone(),
            false => var.as_detached_tensor(),
        };
        let result = (self.function)(
            &input(x.track_op(), &x_var),
            &input(shared.track_op(), &shared_var),
        )?;
        let grad = grad.detach();
        // The derivative of sum(result * grad) is the one of the loss through `result`.
        let mut grads = (result * &grad)?.sum_all()?.backward()?;
        grads.remove(&grad);
        let (dx, dshared) = (grads.remove(&x_var), grads.remove(&shared_var));
        self.collected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(grads)?;
        Ok((dx, dshared, None))
    }
}
