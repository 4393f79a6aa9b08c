//! Embeddings as rows of unit length.

use candle_core::{Result, Tensor, bail};
use image::RgbImage;
use ndarray::Array2;

/// Pictures per forward pass: enough to fill the cores, few enough to stay in their caches.
pub(crate) const BATCH: usize = 32;

/// The rows of a `[B, D]` tensor, each divided by its Euclidean norm (at least 1e-12, as torch's `normalize` does).
///
/// # Errors
/// If a row is not finite; its number counts from `first`.
pub(crate) fn unit_rows(features: &Tensor, first: usize) -> Result<Array2<f32>> {
    let (rows, width) = features.dims2()?;
    let mut values = features.flatten_all()?.to_vec1::<f32>()?;
    for (index, row) in values.chunks_exact_mut(width).enumerate() {
        let norm = row
            .iter()
            .map(|x| f64::from(*x) * f64::from(*x))
            .sum::<f64>()
            .sqrt()
            .max(1e-12);
        if !norm.is_finite() {
            bail!(
                "embedding {} is not finite: the weights or the input are broken",
                first + index
            );
        }
        for x in row {
            *x = (f64::from(*x) / norm) as f32;
        }
    }
    Array2::from_shape_vec((rows, width), values).map_err(candle_core::Error::wrap)
}

/// Runs `embed` over the pictures in batches and stacks the rows.
pub(crate) fn in_batches(
    pictures: &[RgbImage],
    width: usize,
    embed: impl Fn(&[RgbImage]) -> Result<Tensor>,
) -> Result<Array2<f32>> {
    let mut all = Array2::zeros((pictures.len(), width));
    for (index, batch) in pictures.chunks(BATCH).enumerate() {
        let first = index * BATCH;
        let rows = unit_rows(&embed(batch)?, first)?;
        all.slice_mut(ndarray::s![first..first + batch.len(), ..])
            .assign(&rows);
    }
    Ok(all)
}
