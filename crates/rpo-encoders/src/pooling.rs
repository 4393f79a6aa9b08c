//! Means and maxima over the positions of a feature map.

use candle_core::{Device, Result, Storage, Tensor, bail};
use rayon::prelude::*;

/// The mean over height and width: `[B, H, W, C]` to `[B, C]`.
pub(crate) fn mean(x: &Tensor) -> Result<Tensor> {
    let (_, height, width, _) = x.dims4()?;
    let scale = 1.0 / (height * width) as f32;
    pool(x, 0.0, |a, b| a + b, scale)
}

/// The maximum over height and width: `[B, H, W, C]` to `[B, C]`.
pub(crate) fn max(x: &Tensor) -> Result<Tensor> {
    pool(x, f32::NEG_INFINITY, f32::max, 1.0)
}

fn pool(
    x: &Tensor,
    start: f32,
    fold: impl Fn(f32, f32) -> f32 + Sync,
    scale: f32,
) -> Result<Tensor> {
    let (batch, height, width, channels) = x.dims4()?;
    if height * width * channels == 0 {
        bail!("a feature map of {height}x{width}x{channels} has nothing to pool");
    }
    let x = x.contiguous()?;
    let (storage, layout) = x.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        bail!("pooling runs on the CPU only");
    };
    let values =
        &storage.as_slice::<f32>()?[layout.start_offset()..][..layout.shape().elem_count()];
    let mut pooled = vec![start; batch * channels];
    pooled
        .par_chunks_exact_mut(channels)
        .zip(values.par_chunks_exact(height * width * channels))
        .for_each(|(total, map)| {
            // Row by row, so that a sum over many positions is as accurate as one over few.
            let mut line = vec![start; channels];
            for row in map.chunks_exact(width * channels) {
                line.fill(start);
                for place in row.chunks_exact(channels) {
                    for (a, b) in line.iter_mut().zip(place) {
                        *a = fold(*a, *b);
                    }
                }
                for (a, b) in total.iter_mut().zip(&line) {
                    *a = fold(*a, *b);
                }
            }
            for a in total.iter_mut() {
                *a *= scale;
            }
        });
    Tensor::from_vec(pooled, (batch, channels), &Device::Cpu)
}
