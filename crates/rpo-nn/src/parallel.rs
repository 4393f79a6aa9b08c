//! Parallel loops over disjoint chunks of an output. Chunks depend on the given sizes, never on the number of threads.

use rayon::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};

/// Elements per task: enough to pay for its scheduling, few enough to share the work.
pub(crate) const GRAIN: usize = 16 * 1024;

/// Rows of `row` elements that make up one task of about [`GRAIN`] elements.
pub(crate) fn rows_per_task(row: usize) -> usize {
    (GRAIN / row.max(1)).max(1)
}

/// `f(i, chunk i of out)` for all chunks of `chunk` elements; a single chunk runs in the caller's thread.
pub(crate) fn for_chunks(
    out: &mut [f32],
    chunk: usize,
    f: impl Fn(usize, &mut [f32]) + Send + Sync,
) {
    let chunk = chunk.max(1);
    if out.len() <= chunk {
        if !out.is_empty() {
            f(0, out);
        }
    } else {
        out.par_chunks_mut(chunk)
            .enumerate()
            .for_each(|(i, out)| f(i, out));
    }
}

/// As [`for_chunks`], and the results of `f` in the order of the chunks.
pub(crate) fn map_chunks<T: Send>(
    out: &mut [f32],
    chunk: usize,
    f: impl Fn(usize, &mut [f32]) -> T + Send + Sync,
) -> Vec<T> {
    let chunk = chunk.max(1);
    if out.len() <= chunk {
        if out.is_empty() {
            vec![]
        } else {
            vec![f(0, out)]
        }
    } else {
        out.par_chunks_mut(chunk)
            .enumerate()
            .map(|(i, out)| f(i, out))
            .collect()
    }
}

/// The results of `f(0..n)`, in order.
pub(crate) fn map<T: Send>(n: usize, f: impl Fn(usize) -> T + Send + Sync) -> Vec<T> {
    if n <= 1 {
        (0..n).map(f).collect()
    } else {
        (0..n).into_par_iter().map(f).collect()
    }
}

/// Cuts `out` into images of `image` elements and these into chunks of `chunk`; the results of
/// `f(image index, offset inside the image, chunk)`, in order.
pub(crate) fn map_image_chunks<T: Send>(
    out: &mut [f32],
    image: usize,
    chunk: usize,
    f: impl Fn(usize, usize, &mut [f32]) -> T + Send + Sync,
) -> Vec<T> {
    let (image, chunk) = (image.max(1), chunk.max(1));
    let parts: Vec<_> = out
        .chunks_mut(image)
        .enumerate()
        .flat_map(|(b, image)| {
            image
                .chunks_mut(chunk)
                .enumerate()
                .map(move |(i, part)| (b, i * chunk, part))
        })
        .collect();
    if parts.len() <= 1 {
        parts
            .into_iter()
            .map(|(b, at, part)| f(b, at, part))
            .collect()
    } else {
        parts
            .into_par_iter()
            .map(|(b, at, part)| f(b, at, part))
            .collect()
    }
}

/// A vector of `len` elements, chunk i of which is written by `f(i, chunk i)`: all of it, before any of it is read.
pub(crate) fn build(
    len: usize,
    chunk: usize,
    f: impl Fn(usize, &mut [f32]) + Send + Sync,
) -> Vec<f32> {
    build_images(len, len, chunk, |_, at, out| f(at / chunk.max(1), out))
}

/// As [`build`], cut into images and chunks like [`map_image_chunks`]: `f(image index, offset inside the image, chunk)`.
pub(crate) fn build_images(
    len: usize,
    image: usize,
    chunk: usize,
    f: impl Fn(usize, usize, &mut [f32]) + Send + Sync,
) -> Vec<f32> {
    let mut out = fresh(len);
    map_image_chunks(&mut out, image, chunk, f);
    out
}

/// `len` elements of arbitrary content, to be written before they are read. Clearing them would cost a pass over memory, a tenth
/// of a forward pass.
pub(crate) fn fresh(len: usize) -> Vec<f32> {
    let mut out: Vec<f32> = Vec::with_capacity(len);
    if POISON.load(Ordering::Relaxed) {
        out.resize(len, f32::NAN);
        return out;
    }
    // SAFETY: the capacity suffices, any bits are an f32, and by this function's contract nobody reads an element before it is
    // written.
    #[allow(clippy::uninit_vec)]
    unsafe {
        out.set_len(len);
    }
    out
}

static POISON: AtomicBool = AtomicBool::new(false);

/// Fills the memory of every later result with NaN before the kernels write it, so that a test sees an element that was
/// forgotten or read too early.
#[doc(hidden)]
pub fn poison_results() {
    POISON.store(true, Ordering::Relaxed);
}
