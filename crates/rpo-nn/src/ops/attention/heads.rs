//! Conversions between `[B, N, heads d]` and the rows, lanes and strips of one head.

use super::tiles::Rows;
use std::mem::MaybeUninit;

/// All sizes of one attention.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads {
    pub(crate) batch: usize,
    pub(crate) heads: usize,
    /// Channels of a head.
    pub(crate) dim: usize,
    pub(crate) queries: usize,
    pub(crate) keys: usize,
}

impl Heads {
    /// 1 / sqrt(d).
    pub(super) fn scale(&self) -> f64 {
        1.0 / (self.dim as f64).sqrt()
    }

    /// A view of head `bh % heads` of image `bh / heads` of `x` `[B, len, C]`.
    pub(super) fn rows<'a>(&self, x: &'a [f32], len: usize, bh: usize) -> Rows<'a> {
        let c = self.dim * self.heads;
        let (b, h) = (bh / self.heads, bh % self.heads);
        let from = (b * len * c + h * self.dim).min(x.len());
        Rows::new(&x[from..], c, len, self.dim)
    }
}

/// An unfinished `[B, len, C]`: tasks write rows of different heads, which are not disjoint subslices.
pub(super) struct Joined {
    heads: Heads,
    len: usize,
    start: *mut f32,
    /// Empty, with room for all; `start` points to it.
    values: Vec<f32>,
}

// SAFETY: `values` is not touched before `finish`, and the callers of `row` guarantee that threads use different rows.
unsafe impl Sync for Joined {}

impl Joined {
    pub(super) fn new(heads: Heads, len: usize) -> Self {
        let mut values: Vec<f32> = Vec::with_capacity(heads.batch * len * heads.heads * heads.dim);
        // Makes elements visible that a task fails to write.
        #[cfg(test)]
        for value in values.spare_capacity_mut() {
            value.write(f32::NAN);
        }
        Self {
            heads,
            len,
            start: values.as_mut_ptr(),
            values,
        }
    }

    /// Row r of head `bh`, to be written.
    ///
    /// # Safety
    /// Nobody else holds the same row.
    #[allow(clippy::mut_from_ref)] // Rows are disjoint.
    pub(super) unsafe fn row(&self, bh: usize, r: usize) -> &mut [MaybeUninit<f32>] {
        let Heads {
            batch, heads, dim, ..
        } = self.heads;
        assert!(bh < batch * heads && r < self.len);
        let at = ((bh / heads * self.len + r) * heads + bh % heads) * dim;
        // SAFETY: by the assertion at + dim <= B len C, for which there is room; uninitialised elements are allowed; nobody else
        // holds them, by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(at).cast(), dim) }
    }

    /// Channels of a row.
    pub(super) fn width(&self) -> usize {
        self.heads.dim
    }

    /// # Safety
    /// All rows of all heads have been written.
    pub(super) unsafe fn finish(mut self) -> Vec<f32> {
        let Heads {
            batch, heads, dim, ..
        } = self.heads;
        // SAFETY: so much was reserved, and written by the caller's promise.
        unsafe { self.values.set_len(batch * self.len * heads * dim) };
        self.values
    }
}
