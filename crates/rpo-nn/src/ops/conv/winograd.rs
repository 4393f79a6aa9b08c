//! 3x3 convolution of stride 1 by Winograd's F(4x4, 3x3) (Lavin and Gray 2016): 36 products instead of 144 for every tile of
//! 4x4 outputs.
//!
//! y = A^T [ (G w G^T) ⊙ (B^T x B) ] A on tiles; the ⊙ over channels is one matrix product for each of the 36 positions.
//! Rounding errors are a few times those of the direct sum (about 1e-6 of the largest output).

use super::planes;
use super::tiles::{LANES, Store, tiles, transform_gradients, transform_inputs, transform_outputs};
use crate::geometry::Geometry;
use crate::kept::Kept;
use crate::matrix::{Matrix, Panels, Start, product};
use crate::parallel;
use crate::scratch;

/// Floats of transformed tiles that one forward task holds.
const TASK: usize = 768 * 1024;
/// Floats of transformed tiles held at a time for the weight gradient.
const WEIGHT_BLOCK: usize = 4 * 1024 * 1024;

/// Maximum floats of cached transformed weights: they take four times the memory of the weights, which pays off for few tiles and
/// many channels in a small model, but would be gigabytes in a large one.
const KEPT: usize = 2 << 20;

/// Whether the sizes allow this algorithm.
pub(super) fn applies(g: &Geometry) -> bool {
    g.kernel == [3, 3]
        && g.spec.stride == 1
        && g.channels.is_multiple_of(LANES)
        && g.out_channels.is_multiple_of(LANES)
}

/// Estimated cost in multiply-adds of a large matrix product, with the transformation of the weights.
pub(super) fn cost(g: &Geometry) -> f64 {
    let (tiles, ci, co) = (
        tiles(g).total as f64,
        g.channels as f64,
        g.out_channels as f64,
    );
    let weights = 36.0 * ci * co;
    // Products of few rows do not fill the registers; transformed weights beyond the second-level cache come from memory.
    let products = weights * (tiles + 8.0) * 1.25;
    let transforms = 36.0 * tiles * (ci + co) * 8.0;
    products + transforms + weights * if weights > 500e3 { 16.0 } else { 6.0 }
}

/// The share of one forward task, whose outputs must be contiguous.
enum Share {
    /// This many rows of tiles of one image.
    Bands(usize),
    /// This many whole images.
    Images(usize),
}

fn share(g: &Geometry) -> Share {
    let grid = tiles(g);
    let fit = (TASK / (36 * (g.channels + g.out_channels))).clamp(32, 256);
    let wanted = fit.min(grid.total.div_ceil(4).max(16));
    let bands = (wanted / grid.across).max(1);
    if bands < grid.down {
        Share::Bands(bands)
    } else {
        Share::Images(bands / grid.down)
    }
}

/// The convolution; `w` as stored, `[3, 3, Ci, Co]`.
pub(super) fn forward(
    g: &Geometry,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    kept: &Kept,
) -> Vec<f32> {
    if few_tiles(g) {
        by_columns(g, x, w, bias)
    } else {
        by_tiles(g, x, w, bias, kept)
    }
}

/// [`forward`] by blocks of tiles, from transformed weights.
fn by_tiles(g: &Geometry, x: &[f32], w: &[f32], bias: Option<&[f32]>, kept: &Kept) -> Vec<f32> {
    let (ci, co, grid) = (g.channels, g.out_channels, tiles(g));
    let small = 36 * ci * co <= KEPT;
    let u = kept.get(small, || planes::transform_weights(w, ci, co));
    let row = g.out_width * co;
    let image = g.out_height * row;
    let (group, chunk) = match share(g) {
        Share::Bands(bands) => (1, bands * 4 * row),
        Share::Images(images) => (images, images * image),
    };
    parallel::build_images(g.batch * image, group * image, chunk, |i, at, y| {
        let first = (i * group * grid.down + at / (4 * row)) * grid.across;
        let bands = y.len() / image * grid.down + (y.len() % image / row).div_ceil(4);
        let count = bands * grid.across;
        scratch::with(36 * count * (ci + co), |buffer| {
            let (v, m) = buffer.split_at_mut(36 * count * ci);
            transform_inputs(
                g,
                x,
                first,
                count,
                v,
                Store {
                    place: count * ci,
                    tile: ci,
                },
            );
            for e in 0..36 {
                let v = Matrix::new(&v[e * count * ci..], count, ci);
                let m = &mut m[e * count * co..][..count * co];
                place(&u, e, ci, co).product(m, v, Start::Zero);
            }
            transform_outputs(g, m, first, count, bias, y);
        });
    })
}

/// The weights of position `e` from [`planes::transform_weights`].
fn place(u: &[f32], e: usize, ci: usize, co: usize) -> Panels<'_> {
    let plane = ci * Panels::width();
    Panels::new(&u[e * plane..], ci, co, 36 * plane)
}

/// Whether there are so many weights and so few tiles that transformed weights are better used immediately than stored.
fn few_tiles(g: &Geometry) -> bool {
    tiles(g).total <= 128 && g.channels * g.out_channels > 256 * 1024
}

/// [`forward`] by blocks of output channels: a task transforms the weights of its block into a reused buffer.
fn by_columns(g: &Geometry, x: &[f32], w: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    let (ci, co, count) = (g.channels, g.out_channels, tiles(g).total);
    // A few more floats per tile, so that tiles do not all map to the same cache set.
    let tile = 36 * ci + LANES;
    let mut v = parallel::fresh(tile * count);
    let share = (parallel::GRAIN / tile).max(1);
    // Tile by tile, so that a task's tiles are one slice.
    parallel::for_chunks(&mut v, share * tile, |i, v| {
        transform_inputs(
            g,
            x,
            i * share,
            v.len() / tile,
            v,
            Store { place: ci, tile },
        );
    });
    let positions = g.positions();
    let narrow = |width| Geometry {
        out_channels: width,
        ..*g
    };
    // Whole panels, and whole units of the output transform.
    let columns = Panels::width().max(LANES);
    let parts = parallel::build(positions * co, positions * columns, |block, y| {
        let (first, width) = (block * columns, y.len() / positions);
        let panel = 36 * ci * Panels::width();
        let panels = width.div_ceil(Panels::width());
        scratch::with(panels * panel + 36 * width * count, |buffer| {
            let (u, m) = buffer.split_at_mut(panels * panel);
            for (p, u) in u.chunks_exact_mut(panel).enumerate() {
                planes::transform_panel(w, ci, co, first + p * Panels::width(), u);
            }
            for e in 0..36 {
                let v = Matrix::strided(&v[e * ci..], count, ci, tile);
                let m = &mut m[e * count * width..][..count * width];
                place(u, e, ci, width).product(m, v, Start::Zero);
            }
            let bias = bias.map(|b| &b[first..first + width]);
            transform_outputs(&narrow(width), m, 0, count, bias, y);
        });
    });
    let rows = parallel::rows_per_task(co);
    parallel::build(positions * co, rows * co, |i, y| {
        for (r, y) in (i * rows..).zip(y.chunks_exact_mut(co)) {
            for (block, y) in y.chunks_mut(columns).enumerate() {
                let part = &parts[block * positions * columns..];
                y.copy_from_slice(&part[r * y.len()..][..y.len()]);
            }
        }
    })
}

/// dL/dw = G^T [ sum over tiles of (B^T x B) ⊙ (A dy A^T) ] G.
pub(super) fn weight_gradient(g: &Geometry, x: &[f32], dy: &[f32]) -> Vec<f32> {
    let (ci, co, grid) = (g.channels, g.out_channels, tiles(g));
    // A few more floats per tile, so that tiles do not all map to the same cache set.
    let (stride_x, stride_y) = (36 * ci + LANES, 36 * co + LANES);
    let block = (WEIGHT_BLOCK / (stride_x + stride_y))
        .clamp(32, 1024)
        .min(grid.total);
    let mut sums = parallel::fresh(36 * ci * co);
    let share = (parallel::GRAIN / (36 * ci.min(co))).max(1);
    scratch::with(block * (stride_x + stride_y), |buffer| {
        let (v, z) = buffer.split_at_mut(block * stride_x);
        for first in (0..grid.total).step_by(block) {
            let count = block.min(grid.total - first);
            parallel::for_chunks(&mut v[..count * stride_x], share * stride_x, |i, v| {
                let store = Store {
                    place: ci,
                    tile: stride_x,
                };
                transform_inputs(g, x, first + i * share, v.len() / stride_x, v, store);
            });
            parallel::for_chunks(&mut z[..count * stride_y], share * stride_y, |i, z| {
                let store = Store {
                    place: co,
                    tile: stride_y,
                };
                transform_gradients(g, dy, first + i * share, z.len() / stride_y, z, store);
            });
            let (v, z) = (&*v, &*z);
            parallel::for_chunks(&mut sums, ci * co, |e, sums| {
                let v = Matrix::strided(&v[e * ci..], count, ci, stride_x);
                let z = Matrix::strided(&z[e * co..], count, co, stride_y);
                product(
                    sums,
                    v.t(),
                    z,
                    if first > 0 { Start::Out } else { Start::Zero },
                );
            });
        }
    });
    planes::restore_weights(&sums, ci * co)
}

#[cfg(test)]
mod tests {
    use super::super::im2col;
    use super::*;
    use crate::geometry::ConvSpec;
    use rand::{Rng, SeedableRng, rngs::StdRng};

    fn geometry(
        [batch, height, width, channels, out_channels]: [usize; 5],
        padding: [usize; 4],
    ) -> Geometry {
        Geometry {
            batch,
            height,
            width,
            channels,
            out_channels,
            out_height: height + padding[0] + padding[1] - 2,
            out_width: width + padding[2] + padding[3] - 2,
            kernel: [3, 3],
            spec: ConvSpec { stride: 1, padding },
        }
    }

    fn distance(a: &[f32], b: &[f32]) -> f32 {
        let size = b.iter().fold(0f32, |m, b| m.max(b.abs()));
        a.iter().zip(b).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / size
    }

    fn random(rng: &mut StdRng, n: usize) -> Vec<f32> {
        (0..n).map(|_| rng.random_range(-1.0..1.0)).collect()
    }

    /// Input, weights and bias.
    fn arguments(rng: &mut StdRng, g: &Geometry) -> [Vec<f32>; 3] {
        [
            g.batch * g.height * g.width * g.channels,
            9 * g.channels * g.out_channels,
            g.out_channels,
        ]
        .map(|n| random(rng, n))
    }

    /// The sum itself, in f64.
    fn naive(g: &Geometry, x: &[f32], w: &[f32], bias: &[f32]) -> Vec<f32> {
        let [top, _, left, _] = g.spec.padding;
        let mut y = Vec::with_capacity(g.positions() * g.out_channels);
        for p in 0..g.positions() {
            let (oy, ox) = (p / g.out_width % g.out_height, p % g.out_width);
            let image = p / (g.out_width * g.out_height) * g.height;
            let mut sums: Vec<f64> = bias.iter().map(|&b| f64::from(b)).collect();
            for (tap, w) in w.chunks_exact(g.channels * g.out_channels).enumerate() {
                let (iy, ix) = (
                    (oy + tap / 3).wrapping_sub(top),
                    (ox + tap % 3).wrapping_sub(left),
                );
                if iy >= g.height || ix >= g.width {
                    continue;
                }
                let x = &x[((image + iy) * g.width + ix) * g.channels..][..g.channels];
                for (x, w) in x.iter().zip(w.chunks_exact(g.out_channels)) {
                    for (sum, w) in sums.iter_mut().zip(w) {
                        *sum += f64::from(*x) * f64::from(*w);
                    }
                }
            }
            y.extend(sums.into_iter().map(|sum| sum as f32));
        }
        y
    }

    #[test]
    fn agrees_with_patches_whatever_the_cost() {
        let mut rng = StdRng::seed_from_u64(1);
        for (sizes, padding) in [
            ([1, 4, 4, 16, 16], [1; 4]),
            ([9, 3, 2, 16, 32], [1; 4]),
            ([40, 4, 4, 16, 16], [1; 4]),
            ([70, 3, 5, 16, 16], [1; 4]),
            ([2, 9, 14, 32, 16], [0, 2, 1, 0]),
            ([1, 61, 70, 16, 48], [2; 4]),
            ([7, 11, 9, 32, 48], [0; 4]),
            ([3, 130, 131, 16, 16], [1; 4]),
        ] {
            let g = geometry(sizes, padding);
            let [x, w, bias] = arguments(&mut rng, &g);
            let dy = random(&mut rng, g.positions() * g.out_channels);
            let error = distance(
                &forward(&g, &x, &w, Some(&bias), &Kept::default()),
                &im2col::forward(&g, &x, &w, Some(&bias), &Kept::default()),
            );
            assert!(error < 5e-6, "{g:?}: forward {error:e}");
            let error = distance(
                &weight_gradient(&g, &x, &dy),
                &im2col::weight_gradient(&g, &x, &dy),
            );
            // Sums over thousands of tiles: both algorithms round.
            assert!(error < 1e-5, "{g:?}: weight gradient {error:e}");
        }
    }

    #[test]
    fn columns_and_tiles_are_the_convolution_in_f64() {
        let mut rng = StdRng::seed_from_u64(2);
        for (sizes, padding) in [
            ([2, 9, 7, 528, 528], [1; 4]),
            ([1, 5, 4, 640, 416], [0, 2, 1, 1]),
            ([3, 8, 8, 16, 80], [1; 4]),
        ] {
            let g = geometry(sizes, padding);
            let [x, w, bias] = arguments(&mut rng, &g);
            let columns = by_columns(&g, &x, &w, Some(&bias));
            let tiles = by_tiles(&g, &x, &w, Some(&bias), &Kept::default());
            let want = naive(&g, &x, &w, &bias);
            // Hundreds of channels: more rounding than in the small cases above.
            for (way, got) in [("columns", columns), ("tiles", tiles)] {
                let error = distance(&got, &want);
                println!("{sizes:?} {way}: {error:.1e}");
                assert!(error < 2e-5, "{g:?} by {way}: {error:e}");
            }
        }
    }

    #[test]
    fn is_chosen_where_there_are_tiles_enough() {
        let wins = |sizes| {
            let g = geometry(sizes, [1; 4]);
            cost(&g) < im2col::cost(&g)
        };
        assert!(
            wins([8, 16, 16, 64, 64]) && wins([8, 8, 8, 96, 96]) && wins([1, 64, 64, 320, 320])
        );
        // A product of one tile, and weights that are hardly used.
        assert!(!wins([1, 4, 4, 160, 160]) && !wins([1, 8, 8, 1280, 1280]));
        // The sizes of the tests against the naive convolution.
        assert!(wins([3, 8, 8, 16, 32]) && wins([2, 9, 14, 32, 16]));
    }
}
