//! Specification of an attention: its sizes, and which keys are visible.

use super::heads::Heads;
use crate::vector::Level;
use std::sync::OnceLock;

/// The keys that a query may see.
pub(crate) enum Visible {
    All,
    UpToSelf,
    /// These keys, `[B, M]`.
    Kept(Vec<bool>),
}

/// Maximum keys per tile of scores, so that it stays in the first-level cache.
pub(super) const KEYS: usize = 128;

/// `0..len` in blocks of nearly the same size, of at most `most`: first index and size.
pub(super) fn blocks(len: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = len.div_ceil(most);
    (0..count).map(move |i| {
        let from = i * len / count;
        (from, (i + 1) * len / count - from)
    })
}

/// One attention: its specification, and results of the forward pass for the backward pass.
pub(crate) struct Attention {
    pub(crate) heads: Heads,
    pub(crate) visible: Visible,
    pub(super) level: Level,
    /// Maxima and sums of every row of weights, kept from the forward pass: see [`super::forward::forward`].
    pub(super) stats: OnceLock<Vec<f32>>,
    #[cfg(feature = "cuda")]
    pub(crate) on_gpu: crate::gpu::Sums,
}

impl Attention {
    /// Maximum number of keys visible to the queries before `end`.
    pub(super) fn seen(&self, end: usize) -> usize {
        match self.visible {
            Visible::UpToSelf => end.min(self.heads.keys),
            _ => self.heads.keys,
        }
    }

    /// Sets the scores of invisible keys to minus infinity: rows are keys from `k0` on, lanes are queries from `q0` on.
    pub(super) fn hide(
        &self,
        scores: &mut [f32],
        lanes: usize,
        image: usize,
        q0: usize,
        k0: usize,
    ) {
        let rows = scores.chunks_exact_mut(lanes);
        match &self.visible {
            Visible::All => {}
            Visible::UpToSelf => {
                for (j, row) in (k0..).zip(rows) {
                    row[..j.saturating_sub(q0).min(lanes)].fill(f32::NEG_INFINITY);
                }
            }
            Visible::Kept(kept) => {
                for (row, &kept) in rows.zip(&kept[image * self.heads.keys + k0..]) {
                    if !kept {
                        row.fill(f32::NEG_INFINITY);
                    }
                }
            }
        }
    }
}
