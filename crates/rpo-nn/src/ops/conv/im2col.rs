//! Convolution of any kernel, stride and padding as matrix products over gathered patches.

use crate::geometry::Geometry;
use crate::kept::Kept;
use crate::matrix::{
    FEW_ROWS, Matrix, Panels, Start, keep, product, product_keeping, product_parallel,
};
use crate::parallel;
use crate::rows::add_to;
use crate::scratch;

/// Elements of a tile of patches that one task gathers: a tile stays in the second-level cache.
const TILE: usize = 192 * 1024;
/// Elements of the patches gathered at a time for the weight gradient, whose products need many rows.
const WEIGHT_TILE: usize = 1024 * 1024;

/// The input index that tap `k` of output `o` reads, if it is inside.
fn source(o: usize, k: usize, stride: usize, before: usize, size: usize) -> Option<usize> {
    (o * stride + k).checked_sub(before).filter(|&i| i < size)
}

/// Writes the patches of the output positions from `first` on into `patches`, one patch after the other.
fn gather(g: &Geometry, x: &[f32], first: usize, patches: &mut [f32]) {
    let c = g.channels;
    let [top, _, left, _] = g.spec.padding;
    for (r, patch) in (first..).zip(patches.chunks_exact_mut(g.patch())) {
        let (b, oy, ox) = (
            r / (g.out_height * g.out_width),
            r / g.out_width % g.out_height,
            r % g.out_width,
        );
        let mut taps = patch.chunks_exact_mut(c);
        for ky in 0..g.kernel[0] {
            let iy = source(oy, ky, g.spec.stride, top, g.height);
            for (kx, tap) in (0..g.kernel[1]).zip(&mut taps) {
                match (iy, source(ox, kx, g.spec.stride, left, g.width)) {
                    (Some(iy), Some(ix)) => {
                        let from = ((b * g.height + iy) * g.width + ix) * c;
                        tap.copy_from_slice(&x[from..from + c]);
                    }
                    _ => tap.fill(0.0),
                }
            }
        }
    }
}

/// Estimated cost in multiply-adds of a large matrix product.
pub(super) fn cost(g: &Geometry) -> f64 {
    let patches = (g.positions() * g.patch()) as f64;
    patches * (g.out_channels as f64 + 2.0)
}

/// Splits `rows` rows of `row` elements into equal tiles of about `budget` elements and at least `least` rows.
fn tile_rows(rows: usize, row: usize, budget: usize, least: usize) -> usize {
    let tile = (budget / row.max(1)).max(least).min(rows.max(1));
    rows.max(1).div_ceil(rows.max(1).div_ceil(tile))
}

pub(super) fn forward(
    g: &Geometry,
    x: &[f32],
    w: &[f32],
    b: Option<&[f32]>,
    kept: &Kept,
) -> Vec<f32> {
    let (rows, patch, co) = (g.positions(), g.patch(), g.out_channels);
    let weights = Matrix::new(w, patch, co);
    // So few that a product may need all rows for each of its columns.
    if rows <= FEW_ROWS {
        let mut patches = parallel::fresh(rows * patch);
        let share = parallel::rows_per_task(patch);
        parallel::for_chunks(&mut patches, share * patch, |i, patches| {
            gather(g, x, i * share, patches);
        });
        return product_keeping(Matrix::new(&patches, rows, patch), weights, b, kept);
    }
    let weights = keep(weights, kept);
    let weights = Panels::arranged(&weights, patch, co);
    let start = b.map_or(Start::Zero, Start::Bias);
    // At least four tiles if there are enough rows, so that threads share the work evenly.
    let tile = tile_rows(rows, patch, TILE, 64).min(rows.div_ceil(4).max(64));
    parallel::build(rows * co, tile * co, |i, y| {
        let count = y.len() / co;
        scratch::with(count * patch, |patches| {
            gather(g, x, i * tile, patches);
            weights.product(y, Matrix::new(patches, count, patch), start);
        });
    })
}

pub(super) fn weight_gradient(g: &Geometry, x: &[f32], grad: &[f32]) -> Vec<f32> {
    let (rows, patch, co) = (g.positions(), g.patch(), g.out_channels);
    let mut dw = parallel::fresh(patch * co);
    let tile = tile_rows(rows, patch, WEIGHT_TILE, 128);
    let mut patches = parallel::fresh(tile * patch);
    let share = parallel::rows_per_task(patch);
    for (i, grad) in grad.chunks(tile * co).enumerate() {
        let count = grad.len() / co;
        let patches = &mut patches[..count * patch];
        parallel::for_chunks(patches, share * patch, |j, patches| {
            gather(g, x, i * tile + j * share, patches);
        });
        product_parallel(
            &mut dw,
            Matrix::new(patches, count, patch).t(),
            Matrix::new(grad, count, co),
            if i > 0 { Start::Out } else { Start::Zero },
        );
    }
    dw
}

/// `[kh, kw, Ci, Co]` to `[kh, kw, Co, Ci]`, taps in reverse order.
pub(super) fn turn_kernel(g: &Geometry, w: &[f32]) -> Vec<f32> {
    const BLOCK: usize = 16;
    let (ci, co) = (g.channels, g.out_channels);
    let taps = g.kernel[0] * g.kernel[1];
    let mut turned = parallel::fresh(w.len());
    parallel::for_chunks(&mut turned, ci * co, |tap, out| {
        let from = &w[(taps - 1 - tap) * ci * co..][..ci * co];
        for i0 in (0..ci).step_by(BLOCK) {
            for j in 0..co {
                let end = (i0 + BLOCK).min(ci);
                for (i, out) in (i0..end).zip(&mut out[j * ci + i0..j * ci + end]) {
                    *out = from[i * co + j];
                }
            }
        }
    });
    turned
}

/// The input gradient of any convolution: the gradients of the patches, summed where they overlap; one task per image.
pub(super) fn scatter(g: &Geometry, w: &[f32], grad: &[f32]) -> Vec<f32> {
    let (patch, c, co) = (g.patch(), g.channels, g.out_channels);
    let [top, _, left, _] = g.spec.padding;
    let positions = g.out_height * g.out_width;
    let image = g.height * g.width * c;
    let weights = Matrix::new(w, patch, co).t();
    let tile = tile_rows(positions, patch, TILE, 64);
    let mut dx = vec![0f32; g.batch * image];
    parallel::for_chunks(&mut dx, image, |b, dx| {
        let grad = &grad[b * positions * co..(b + 1) * positions * co];
        let mut patches = parallel::fresh(tile * patch);
        for (i, grad) in grad.chunks(tile * co).enumerate() {
            let count = grad.len() / co;
            product(
                &mut patches,
                Matrix::new(grad, count, co),
                weights,
                Start::Zero,
            );
            for (r, patch) in (i * tile..).zip(patches.chunks_exact(patch).take(count)) {
                let (oy, ox) = (r / g.out_width, r % g.out_width);
                let mut taps = patch.chunks_exact(c);
                for ky in 0..g.kernel[0] {
                    let iy = source(oy, ky, g.spec.stride, top, g.height);
                    for (kx, tap) in (0..g.kernel[1]).zip(&mut taps) {
                        if let (Some(iy), Some(ix)) =
                            (iy, source(ox, kx, g.spec.stride, left, g.width))
                        {
                            let to = (iy * g.width + ix) * c;
                            add_to(&mut dx[to..to + c], tap);
                        }
                    }
                }
            }
        }
    });
    dx
}
