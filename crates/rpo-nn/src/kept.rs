//! Weights in another arrangement, kept until the weights change.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Counts the changes of the values of a network.
pub(crate) type Changes = Arc<AtomicU64>;

/// A place for them, shared by the clones of a layer; nothing is kept by the default.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept(Option<Arc<Place>>);

#[derive(Debug)]
struct Place {
    changes: Changes,
    /// What was made, and of which values.
    made: Mutex<Option<(u64, Arc<Vec<f32>>)>>,
}

impl Kept {
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
    pub(crate) fn get(&self, small: bool, arrange: impl FnOnce() -> Vec<f32>) -> Arc<Vec<f32>> {
        let Some(place) = self.0.as_ref().filter(|_| small) else {
            return Arc::new(arrange());
        };
        let now = place.changes.load(Ordering::Acquire);
        let made = || place.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((version, kept)) = &*made()
            && *version == now
        {
            return kept.clone();
        }
        // Not under the lock: threads that wait for others might come by here.
        let new = Arc::new(arrange());
        *made() = Some((now, new.clone()));
        new
    }
}
