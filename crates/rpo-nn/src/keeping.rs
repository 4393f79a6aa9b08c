//! What it takes to keep what is made of a layer's weights.

#[cfg(feature = "cuda")]
use crate::gpu::KeptCasts;
use crate::kept::Changes;

/// Of one weight and its bias.
pub(crate) struct Keeping {
    /// The count of their changes, if nothing changes them without counting.
    pub(crate) changes: Option<Changes>,
    /// Places for them in the dtype of activations, shared by all layers that have them.
    #[cfg(feature = "cuda")]
    pub(crate) casts: KeptCasts,
}
