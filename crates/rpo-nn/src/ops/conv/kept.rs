//! Transformed weights, kept while the weights are constant.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

/// Floats of one convolution's transformed weights that are kept at most: four times the weights themselves, which pays where
/// there are few tiles for many channels of a small model, and would be gigabytes in a large one.
const LIMIT: usize = 2 << 20;

/// A place for them, shared by the clones of a layer; nothing is kept by the default.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept(Option<Arc<OnceLock<Vec<f32>>>>);

impl Kept {
    /// For weights that nobody changes.
    pub(crate) fn constant() -> Self {
        Self(Some(Arc::default()))
    }

    /// The transformed weights, `len` floats: those of an earlier call, or what `transform` makes.
    pub(super) fn get(&self, len: usize, transform: impl FnOnce() -> Vec<f32>) -> Cow<'_, [f32]> {
        match &self.0 {
            Some(place) if len <= LIMIT => {
                if place.get().is_none() {
                    // Not inside `get_or_init`: `transform` waits for other threads, which might come by here.
                    let _ = place.set(transform());
                }
                place.get().map_or(Cow::Borrowed(&[]), |u| Cow::Borrowed(u))
            }
            _ => Cow::Owned(transform()),
        }
    }
}
