//! Low-rank adapters on a set of tensors, as data; [`crate::lora`] creates and applies them.

use super::tensors::Tensors;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A and B of some layers, with their scales.
#[derive(Clone, Debug)]
pub(crate) struct Overlay {
    /// A and B by `MODULE.lora_A.weight` and `MODULE.lora_B.weight`.
    pub(crate) tensors: Tensors,
    /// Module to α.
    pub(crate) alphas: Arc<BTreeMap<String, f64>>,
    pub(crate) controls: Arc<Controls>,
}

impl Overlay {
    /// The same values, not tracked.
    pub(super) fn detached(&self) -> Self {
        Self {
            tensors: self.tensors.detached(),
            ..self.clone()
        }
    }
}

/// Settings that can be changed while models built on the adapters exist; shared by all of them.
#[derive(Debug)]
pub(crate) struct Controls {
    dropout: f64,
    key: Mutex<Option<u64>>,
    /// Bits of an f64.
    scale: AtomicU64,
}

impl Controls {
    /// No dropout until a key is set; scale 1.
    pub(crate) fn new(dropout: f64) -> Self {
        Self {
            dropout,
            key: Mutex::new(None),
            scale: AtomicU64::new(1f64.to_bits()),
        }
    }

    pub(crate) fn set_key(&self, key: Option<u64>) {
        *self.key.lock().unwrap_or_else(PoisonError::into_inner) = key;
    }

    pub(crate) fn set_scale(&self, scale: f64) {
        self.scale.store(scale.to_bits(), Ordering::Relaxed);
    }

    /// The probability and the key, if elements are to be dropped.
    pub(crate) fn dropout(&self) -> Option<(f64, u64)> {
        if self.dropout == 0.0 {
            return None;
        }
        let key = self.key.lock().unwrap_or_else(PoisonError::into_inner);
        key.map(|key| (self.dropout, key))
    }

    pub(crate) fn scale(&self) -> f64 {
        f64::from_bits(self.scale.load(Ordering::Relaxed))
    }
}
