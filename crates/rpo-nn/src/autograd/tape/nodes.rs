//! The nodes of a tape, and the gradients in the backward pass.

use crate::autograd::values::Values;
use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, TensorId};
use std::collections::HashMap;
use std::sync::Arc;

pub(super) type Again = Box<dyn Fn() -> Result<Tensor> + Send + Sync>;

/// One recorded step of a network.
pub(super) enum Node {
    /// `out` is the result of `op`.
    Operation { out: Tensor, op: Box<dyn Backward> },
    /// `out` is the result of `again`, whose steps were not recorded.
    Part { out: Tensor, again: Again },
}

/// An operation with its arguments.
pub(crate) trait Backward: Send + Sync {
    fn backward(&self, out: &Tensor, grad: Arc<Values>, into: &mut Gradients) -> Result<()>;
}

/// Gradients by tensor; shared values are copied before they are changed.
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

    /// The gradient of `tensor`, complete because all nodes that contribute to it have been processed.
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
