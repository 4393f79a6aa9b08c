//! Weights in another arrangement, kept while they are constant.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

/// A place for them, shared by the clones of a layer; nothing is kept by the default.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept(Option<Arc<OnceLock<Vec<f32>>>>);

impl Kept {
    /// A place if nobody changes the weights.
    pub(crate) fn when(constant: bool) -> Self {
        Self(constant.then(Arc::default))
    }

    /// Whether anything is kept.
    pub(crate) fn is_place(&self) -> bool {
        self.0.is_some()
    }

    /// What `arrange` made in an earlier call, or makes now; kept if `small` enough.
    pub(crate) fn get(&self, small: bool, arrange: impl FnOnce() -> Vec<f32>) -> Cow<'_, [f32]> {
        match &self.0 {
            Some(place) if small => Cow::Borrowed(match place.get() {
                Some(kept) => kept,
                None => {
                    // Not inside `get_or_init`: it waits for other threads, which might come by here.
                    let made = arrange();
                    place.get_or_init(|| made)
                }
            }),
            _ => Cow::Owned(arrange()),
        }
    }
}
