//! Embeddings as rows of unit length.

use std::path::Path;

use candle_core::{Result, Tensor, bail};
use image::RgbImage;
use ndarray::Array2;

/// Pictures per forward pass: enough to fill the cores, few enough to stay in their caches.
pub(crate) const BATCH: usize = 32;

/// The rows of a `[B, D]` tensor, each divided by its Euclidean norm (at least 1e-12, as torch's `normalize` does).
///
/// # Errors
/// If a row is not finite; `named` says what it belongs to.
pub(crate) fn unit_rows(features: &Tensor, named: impl Fn(usize) -> String) -> Result<Array2<f32>> {
    let (rows, width) = features.dims2()?;
    let mut values = features.flatten_all()?.to_vec1::<f32>()?;
    for (index, row) in values.chunks_exact_mut(width).enumerate() {
        let norm = row
            .iter()
            .map(|x| f64::from(*x) * f64::from(*x))
            .sum::<f64>()
            .sqrt();
        // Before the maximum, which would pass over NaN.
        if !norm.is_finite() {
            bail!(
                "the embedding of {} is not finite\n  hint: the weights of this encoder are damaged, or overflow: copy its folder again",
                named(index)
            );
        }
        let norm = norm.max(1e-12);
        for x in row {
            *x = (f64::from(*x) / norm) as f32;
        }
    }
    Array2::from_shape_vec((rows, width), values).map_err(candle_core::Error::wrap)
}

/// Runs `embed` over the pictures in batches and stacks the rows; `folder` is the encoder's.
pub(crate) fn in_batches(
    folder: &Path,
    pictures: &[RgbImage],
    width: usize,
    embed: impl Fn(&[RgbImage]) -> Result<Tensor>,
) -> Result<Array2<f32>> {
    let mut all = Array2::zeros((pictures.len(), width));
    for (index, batch) in pictures.chunks(BATCH).enumerate() {
        let first = index * BATCH;
        let rows = unit_rows(&embed(batch)?, |row| {
            format!("picture {} by {}", first + row + 1, folder.display())
        })?;
        all.slice_mut(ndarray::s![first..first + batch.len(), ..])
            .assign(&rows);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn rows_have_length_one_or_are_refused() -> Result<()> {
        let rows = |values: [f32; 4]| {
            let features = Tensor::from_vec(values.to_vec(), (2, 2), &Device::Cpu)?;
            unit_rows(&features, |row| format!("picture {}", row + 5))
        };
        let fine = rows([3.0, 4.0, 0.0, 0.0])?;
        assert_eq!(fine.as_slice(), Some(&[0.6, 0.8, 0.0, 0.0][..]));
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let told = rows([3.0, 4.0, bad, 0.0]).err().map(|e| e.to_string());
            let told = told.unwrap_or_default();
            assert!(
                told.contains("the embedding of picture 6 is not finite"),
                "{bad}: {told}"
            );
        }
        Ok(())
    }
}
