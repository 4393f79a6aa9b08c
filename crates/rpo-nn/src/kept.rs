//! Cached values derived from weights, valid until the weights change.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Number of optimiser steps on GPUs.
static STEPS: AtomicU64 = AtomicU64::new(0);

/// Counts an optimiser step on a GPU.
#[cfg(feature = "cuda")]
pub(crate) fn count_step() {
    STEPS.fetch_add(1, Ordering::Release);
}

/// Counts the changes of the values of a network.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    counted: Arc<AtomicU64>,
    /// Whether optimiser steps also change them.
    stepped: bool,
}

impl Changes {
    /// The same for values that optimisers also change.
    #[cfg(feature = "cuda")]
    pub(crate) fn and_steps(&self) -> Self {
        Self {
            stepped: true,
            ..self.clone()
        }
    }

    pub(crate) fn count(&self) {
        self.counted.fetch_add(1, Ordering::Release);
    }

    fn now(&self) -> u64 {
        let steps = if self.stepped {
            STEPS.load(Ordering::Acquire)
        } else {
            0
        };
        self.counted.load(Ordering::Acquire) + steps
    }
}

/// A cache shared by the clones of a layer; the default caches nothing.
pub(crate) struct Kept<T = Vec<f32>>(Option<Arc<Slot<T>>>);

struct Slot<T> {
    changes: Changes,
    /// The cached value, and the count of changes it belongs to.
    made: Mutex<Option<(u64, Arc<T>)>>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> std::fmt::Debug for Kept<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kept({})", self.is_place())
    }
}

impl<T> Kept<T> {
    /// A cache if changes of the weights are counted.
    pub(crate) fn when(changes: Option<Changes>) -> Self {
        let slot = |changes| Slot {
            changes,
            made: Mutex::default(),
        };
        Self(changes.map(|changes| Arc::new(slot(changes))))
    }

    /// Whether it caches anything.
    pub(crate) fn is_place(&self) -> bool {
        self.0.is_some()
    }

    /// The result of `arrange`, from an earlier call or computed now; cached if `small` enough.
    pub(crate) fn get(&self, small: bool, arrange: impl FnOnce() -> T) -> Arc<T> {
        let Ok(made) = self.get_or(small, || Ok::<_, Infallible>(arrange()));
        made
    }

    /// As [`Self::get`]; errors are not cached.
    pub(crate) fn get_or<E>(
        &self,
        small: bool,
        arrange: impl FnOnce() -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        let Some(slot) = self.0.as_ref().filter(|_| small) else {
            return arrange().map(Arc::new);
        };
        let now = slot.changes.now();
        let made = || slot.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((version, kept)) = &*made()
            && *version == now
        {
            return Ok(kept.clone());
        }
        // Not under the lock: threads waiting for others may reach this point.
        let new = Arc::new(arrange()?);
        *made() = Some((now, new.clone()));
        Ok(new)
    }
}
