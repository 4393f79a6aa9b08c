//! What a tape holds, and the gradients on their way back through it.

use crate::autograd::values::Values;
use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, TensorId};
use std::collections::HashMap;
use std::sync::Arc;

pub(super) type Again = Box<dyn Fn() -> Result<Tensor> + Send + Sync>;

/// One step of what a network did.
pub(super) enum Node {
    /// `out` is the result of `op`.
    Operation { out: Tensor, op: Box<dyn Backward> },
    /// `out` is that of `again`, whose steps were not written down.
    Part { out: Tensor, again: Again },
}

/// An operation with the arguments it had.
pub(crate) trait Backward: Send + Sync {
    fn backward(&self, out: &Tensor, grad: Arc<Values>, into: &mut Gradients) -> Result<()>;
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

    /// What `tensor` has so far, which is then complete: nodes that come before it in the backward pass have been.
    pub(super) fn take(&mut self, tensor: &Tensor) -> Option<Arc<Values>> {
        self.0.remove(&tensor.id()).map(|(_, grad)| grad)
    }

    pub(super) fn store(self, into: &mut GradStore) -> Result<()> {
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
