//! A node in the tree of names.

use super::arrangement::Arrangement;
use super::overlay::Overlay;
use super::params::Params;
#[cfg(feature = "cuda")]
use crate::gpu::KeptCasts;
use crate::keeping::Keeping;
use crate::place::Place;
use candle_core::{Result, Tensor};
use std::fmt::Display;

/// A prefix into [`Params`], from which layers get their tensors.
#[derive(Clone, Debug)]
pub struct Scope {
    params: Params,
    prefix: String,
}

impl Scope {
    /// The scope `name` below this one.
    #[must_use]
    pub fn sub(&self, name: impl Display) -> Self {
        Self {
            params: self.params.clone(),
            prefix: self.path(&name.to_string()),
        }
    }

    /// The same scope at `place`: with the same tensors if already there, else with copies of those below it.
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
        self.set(name).has(&self.path(name))
    }

    /// A tensor as stored.
    ///
    /// # Errors
    /// If it is missing or has another shape; the message names the file and the tensor.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.set(name)
            .get(&self.path(name), shape, Arrangement::Stored)
    }

    /// A convolution kernel stored `[co, ci, kh, kw]`, as `[kh, kw, ci, co]`.
    ///
    /// # Errors
    /// As [`Self::tensor`].
    pub fn conv(&self, name: &str, shape: [usize; 4]) -> Result<Tensor> {
        self.set(name)
            .get(&self.path(name), &shape, Arrangement::Conv)
    }

    /// A depthwise kernel stored `[c, 1, kh, kw]`, as `[kh, kw, c]`.
    ///
    /// # Errors
    /// As [`Self::tensor`]; also if the second requested dimension is not 1.
    pub fn depthwise(&self, name: &str, shape: [usize; 4]) -> Result<Tensor> {
        if shape[1] != 1 {
            candle_core::bail!(
                "tensor {}: a depthwise kernel {shape:?} should be [c, 1, kh, kw]",
                self.path(name)
            )
        }
        self.set(name)
            .get(&self.path(name), &shape, Arrangement::Depthwise)
    }

    /// Context for caching values derived from `weight` and `bias`.
    pub(crate) fn keeping(&self, weight: &str) -> Keeping {
        #[cfg(feature = "cuda")]
        let cast = |name: &str| self.set(name).cast(&self.path(name));
        Keeping {
            changes: self.set(weight).changes(),
            #[cfg(feature = "cuda")]
            casts: KeptCasts::new(cast(weight), cast("bias")),
        }
    }

    /// The shape of one tensor as the checkpoint has it.
    pub(crate) fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.set(name).shape(&self.path(name))
    }

    /// The adapters of these tensors, and the same scope in their A and B.
    pub(crate) fn adapters(&self) -> Option<(&Overlay, Self)> {
        let overlay = self.params.adapters.as_deref()?;
        let place = Self {
            params: overlay.tensors.clone().into(),
            prefix: self.prefix.clone(),
        };
        Some((overlay, place))
    }

    /// The name of the module at this scope.
    pub(crate) fn module(&self) -> &str {
        &self.prefix
    }
}

impl Params {
    /// The scope from which layers get their tensors.
    pub fn root(&self) -> Scope {
        Scope {
            params: self.clone(),
            prefix: String::new(),
        }
    }
}
