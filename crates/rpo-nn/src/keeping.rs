//! Context for caching values derived from a layer's weights.

#[cfg(feature = "cuda")]
use crate::gpu::KeptCasts;
use crate::kept::Changes;

/// For one weight and its bias.
pub(crate) struct Keeping {
    /// The counter of their changes, if all changes are counted.
    pub(crate) changes: Option<Changes>,
    /// Caches of them in the dtype of activations, shared by all layers that use them.
    #[cfg(feature = "cuda")]
    pub(crate) casts: KeptCasts,
}
