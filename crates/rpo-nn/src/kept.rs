//! Weights in another arrangement, kept until the weights change.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Steps that optimisers have made on GPUs.
static STEPS: AtomicU64 = AtomicU64::new(0);

/// Counts a step of an optimiser on a GPU.
#[cfg(feature = "cuda")]
pub(crate) fn count_step() {
    STEPS.fetch_add(1, Ordering::Release);
}

/// Counts the changes of the values of a network.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    counted: Arc<AtomicU64>,
    /// Whether steps of optimisers change them, too.
    stepped: bool,
}

impl Changes {
    /// Of values that optimisers change as well.
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

/// A place for them, shared by the clones of a layer; nothing is kept by the default.
pub(crate) struct Kept<T = Vec<f32>>(Option<Arc<Place<T>>>);

struct Place<T> {
    changes: Changes,
    /// What was made, and of which values.
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
    /// A place if changes of the weights are counted.
    pub(crate) fn when(changes: Option<Changes>) -> Self {
        let place = |changes| Place {
            changes,
            made: Mutex::default(),
        };
        Self(changes.map(|changes| Arc::new(place(changes))))
    }

    /// Whether anything is kept.
    pub(crate) fn is_place(&self) -> bool {
        self.0.is_some()
    }

    /// What `arrange` made of these values in an earlier call, or makes now; kept if `small` enough.
    pub(crate) fn get(&self, small: bool, arrange: impl FnOnce() -> T) -> Arc<T> {
        let Ok(made) = self.get_or(small, || Ok::<_, Infallible>(arrange()));
        made
    }

    /// As [`Self::get`]; nothing is kept of an error.
    pub(crate) fn get_or<E>(
        &self,
        small: bool,
        arrange: impl FnOnce() -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        let Some(place) = self.0.as_ref().filter(|_| small) else {
            return arrange().map(Arc::new);
        };
        let now = place.changes.now();
        let made = || place.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((version, kept)) = &*made()
            && *version == now
        {
            return Ok(kept.clone());
        }
        // Not under the lock: threads that wait for others might come by here.
        let new = Arc::new(arrange()?);
        *made() = Some((now, new.clone()));
        Ok(new)
    }
}
