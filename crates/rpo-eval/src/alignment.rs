//! ALIGN-I and ALIGN-T from embeddings: arithmetic on rows of unit length, in f64.

use ndarray::{ArrayView1, ArrayView2};

/// `(cos + 1) / 2` of two unit vectors, in `[0, 1]`. NaN if one of them holds a NaN.
#[must_use]
pub fn alignment(a: ArrayView1<'_, f32>, b: ArrayView1<'_, f32>) -> f64 {
    // Embeddings are f32: the cosine of a picture with itself may exceed 1 by rounding.
    ((cosine(a, b) + 1.0) / 2.0).clamp(0.0, 1.0)
}

/// The cosine of two unit vectors: their dot product, summed in f64.
#[must_use]
pub fn cosine(a: ArrayView1<'_, f32>, b: ArrayView1<'_, f32>) -> f64 {
    a.iter()
        .zip(b)
        .map(|(&x, &y)| f64::from(x) * f64::from(y))
        .sum()
}

/// ALIGN-I: the mean over the references (rows) of a picture's alignment with each. NaN without references.
#[must_use]
pub fn align_i(picture: ArrayView1<'_, f32>, references: ArrayView2<'_, f32>) -> f64 {
    let sum: f64 = references
        .outer_iter()
        .map(|reference| alignment(picture, reference))
        .sum();
    sum / references.nrows() as f64
}

/// ALIGN-I of reference `index` with the other references only: its alignment with itself is always 1, which favours it by
/// `1 / n` of the distance to 1. NaN for a single reference.
#[must_use]
pub fn align_i_leave_one_out(index: usize, references: ArrayView2<'_, f32>) -> f64 {
    let own = references.row(index);
    let others = references
        .outer_iter()
        .enumerate()
        .filter(|&(other, _)| other != index);
    let sum: f64 = others.map(|(_, reference)| alignment(own, reference)).sum();
    sum / (references.nrows() as f64 - 1.0)
}
