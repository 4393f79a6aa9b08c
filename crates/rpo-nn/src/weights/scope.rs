//! A place in the tree of names.

use super::Params;
use super::arrangement::Arrangement;
use crate::lora::Lora;
use crate::place::Place;
use candle_core::{Result, Tensor};
use std::fmt::Display;

/// A prefix into [`Params`]. Layers take their tensors from one.
#[derive(Clone, Debug)]
pub struct Scope {
    params: Params,
    prefix: String,
}

impl Scope {
    pub(super) fn root(params: Params) -> Self {
        Self {
            params,
            prefix: String::new(),
        }
    }

    /// The scope `name` below this one.
    #[must_use]
    pub fn sub(&self, name: impl Display) -> Self {
        Self {
            params: self.params.clone(),
            prefix: self.path(&name.to_string()),
        }
    }

    /// The same scope at `place`: with its tensors as they are if they are there, else with copies of those below it.
    ///
    /// # Errors
    /// Those of the device.
    pub fn at(&self, place: &Place) -> Result<Self> {
        Ok(Self {
            params: self.params.below_at(&self.prefix, place)?,
            prefix: self.prefix.clone(),
        })
    }

    /// The full name of `name` in this scope.
    pub fn path(&self, name: &str) -> String {
        if self.prefix.is_empty() {
            name.to_string()
        } else {
            format!("{}.{name}", self.prefix)
        }
    }

    /// The set of tensors this scope points into.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Whether the tensor exists.
    pub fn contains(&self, name: &str) -> bool {
        self.params.has(&self.path(name))
    }

    /// A tensor as stored.
    ///
    /// # Errors
    /// If it is missing or has another shape; the message names the file and the tensor.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.params
            .get(&self.path(name), shape, Arrangement::Stored)
    }

    /// A convolution kernel stored `[co, ci, kh, kw]`, as `[kh, kw, ci, co]`.
    ///
    /// # Errors
    /// As [`Self::tensor`].
    pub fn conv(&self, name: &str, shape: [usize; 4]) -> Result<Tensor> {
        self.params.get(&self.path(name), &shape, Arrangement::Conv)
    }

    /// A depthwise kernel stored `[c, 1, kh, kw]`, as `[kh, kw, c]`.
    ///
    /// # Errors
    /// As [`Self::tensor`]; also if the second dimension asked for is not 1.
    pub fn depthwise(&self, name: &str, shape: [usize; 4]) -> Result<Tensor> {
        if shape[1] != 1 {
            candle_core::bail!(
                "tensor {}: a depthwise kernel {shape:?} should be [c, 1, kh, kw]",
                self.path(name)
            )
        }
        self.params
            .get(&self.path(name), &shape, Arrangement::Depthwise)
    }

    /// Places for `weight` and `bias` in the dtype of activations, shared by all layers that ask here.
    #[cfg(feature = "cuda")]
    pub(crate) fn casts(&self, weight: &str) -> crate::gpu::KeptCasts {
        let of = |name: &str| self.params.cast(&self.path(name));
        crate::gpu::KeptCasts::new(of(weight), of("bias"))
    }

    /// The adapter of the layer at this place, whose weight is stored in `shape`; `None` where there is none.
    pub(crate) fn lora(&self, shape: &[usize]) -> Result<Option<Lora>> {
        match self.params.adapters() {
            Some(adapters) => adapters.layer(&self.prefix, shape),
            None => Ok(None),
        }
    }
}
