//! A part of a pipeline that is in memory only while needed.

use candle_core::Result;
use std::sync::{Arc, Mutex, PoisonError};

/// Loaded at the first use, dropped by [`release`](Self::release), loaded again at the next use.
pub(crate) struct Part<T> {
    load: Box<dyn Fn() -> Result<T> + Send + Sync>,
    held: Mutex<Option<Arc<T>>>,
}

impl<T> Part<T> {
    pub(crate) fn new(load: impl Fn() -> Result<T> + Send + Sync + 'static) -> Self {
        Self {
            load: Box::new(load),
            held: Mutex::new(None),
        }
    }

    /// # Errors
    /// Those of loading.
    pub(crate) fn get(&self) -> Result<Arc<T>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(part) = &*held {
            return Ok(part.clone());
        }
        let part = Arc::new((self.load)()?);
        *held = Some(part.clone());
        Ok(part)
    }

    /// Frees the memory once the part is no longer in use.
    pub(crate) fn release(&self) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
