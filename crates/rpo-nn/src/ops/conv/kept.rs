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
    /// A place if nobody changes the weights.
    pub(crate) fn when(constant: bool) -> Self {
        Self(constant.then(Arc::default))
    }

    /// The transformed weights, `len` floats: those of an earlier call, or what `transform` makes.
    pub(super) fn get(&self, len: usize, transform: impl FnOnce() -> Vec<f32>) -> Cow<'_, [f32]> {
        match &self.0 {
            Some(place) if len <= LIMIT => Cow::Borrowed(match place.get() {
                Some(kept) => kept,
                None => {
                    // Not inside `get_or_init`: it waits for other threads, which might come by here.
                    let made = transform();
                    place.get_or_init(|| made)
                }
            }),
            _ => Cow::Owned(transform()),
        }
    }
}
