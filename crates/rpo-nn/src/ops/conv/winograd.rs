//! 3x3 convolution of stride 1 by Winograd's F(4x4, 3x3) (Lavin and Gray 2016): 36 products instead of 144 for every tile of
//! 4x4 outputs.
//!
//! y = A^T [ (G w G^T) ⊙ (B^T x B) ] A on tiles; the ⊙ over channels is one matrix product for each of the 36 places.
//! Rounding errors are a few times those of the direct sum (about 1e-6 of the largest output).

// The indices are the places of the formulas.
#![allow(clippy::needless_range_loop)]

use super::{Geometry, planes};
use crate::matrix::{Matrix, product};
use crate::parallel;
use crate::scratch;
use crate::simd::simd;

/// Channels that a transform handles together; channel counts must be multiples.
pub(super) const LANES: usize = 16;
type Lanes = [f32; LANES];

/// Floats of transformed tiles that one forward task holds.
const TASK: usize = 768 * 1024;
/// Floats of transformed tiles held at a time for the weight gradient.
const WEIGHT_BLOCK: usize = 4 * 1024 * 1024;

/// Tiles of an image, and of everything.
#[derive(Clone, Copy)]
struct Tiles {
    down: usize,
    across: usize,
    total: usize,
}

fn tiles(g: &Geometry) -> Tiles {
    let (down, across) = (g.out_height.div_ceil(4), g.out_width.div_ceil(4));
    Tiles {
        down,
        across,
        total: g.batch * down * across,
    }
}

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

/// B^T d.
#[inline(always)]
fn bt(d: [f32; 6]) -> [f32; 6] {
    [
        4.0 * d[0] - 5.0 * d[2] + d[4],
        (d[4] - 4.0 * d[2]) + (d[3] - 4.0 * d[1]),
        (d[4] - 4.0 * d[2]) - (d[3] - 4.0 * d[1]),
        (d[4] - d[2]) + 2.0 * (d[3] - d[1]),
        (d[4] - d[2]) - 2.0 * (d[3] - d[1]),
        4.0 * d[1] - 5.0 * d[3] + d[5],
    ]
}

/// A^T m.
#[inline(always)]
fn at(m: [f32; 6]) -> [f32; 4] {
    let (a, b, c, d) = (m[1] + m[2], m[1] - m[2], m[3] + m[4], m[3] - m[4]);
    [m[0] + a + c, b + 2.0 * d, a + 4.0 * c, b + 8.0 * d + m[5]]
}

/// A y.
#[inline(always)]
fn a(y: [f32; 4]) -> [f32; 6] {
    let (even, odd) = (y[0] + y[2], y[1] + y[3]);
    let (far_even, far_odd) = (y[0] + 4.0 * y[2], 2.0 * y[1] + 8.0 * y[3]);
    [
        y[0],
        even + odd,
        even - odd,
        far_even + far_odd,
        far_even - far_odd,
        y[3],
    ]
}

/// `f` on the columns of `x`, lane by lane: `[N][K]` to `[M][K]`.
#[inline(always)]
fn columns<const N: usize, const M: usize, const K: usize>(
    x: &[[Lanes; K]; N],
    f: impl Fn([f32; N]) -> [f32; M],
) -> [[Lanes; K]; M] {
    let mut out = [[[0f32; LANES]; K]; M];
    for k in 0..K {
        for lane in 0..LANES {
            let mut column = [0f32; N];
            for n in 0..N {
                column[n] = x[n][k][lane];
            }
            let column = f(column);
            for m in 0..M {
                out[m][k][lane] = column[m];
            }
        }
    }
    out
}

/// `f` on the rows of `x`, lane by lane: `[K][N]` to `[K][M]`.
#[inline(always)]
fn rows<const N: usize, const M: usize, const K: usize>(
    x: &[[Lanes; N]; K],
    f: impl Fn([f32; N]) -> [f32; M],
) -> [[Lanes; M]; K] {
    let mut out = [[[0f32; LANES]; M]; K];
    for k in 0..K {
        for lane in 0..LANES {
            let mut row = [0f32; N];
            for n in 0..N {
                row[n] = x[k][n][lane];
            }
            let row = f(row);
            for m in 0..M {
                out[k][m][lane] = row[m];
            }
        }
    }
    out
}

#[inline(always)]
fn load(x: &[f32], at: usize) -> Lanes {
    let mut lanes = [0f32; LANES];
    lanes.copy_from_slice(&x[at..at + LANES]);
    lanes
}

/// Where transformed tiles lie: place e, tile t begins at `e * place + t * tile`.
#[derive(Clone, Copy)]
struct Store {
    place: usize,
    tile: usize,
}

/// A square of pixels of an image, of which those outside the image are 0.
struct Window {
    image: usize,
    top: isize,
    left: isize,
    height: usize,
    width: usize,
}

impl Window {
    /// The index of pixel (i, j) of the window among all pixels.
    #[inline(always)]
    fn pixel(&self, i: usize, j: usize) -> Option<usize> {
        let (y, x) = (self.top + i as isize, self.left + j as isize);
        let inside = y >= 0 && x >= 0 && y < self.height as isize && x < self.width as isize;
        inside.then(|| (self.image * self.height + y as usize) * self.width + x as usize)
    }
}

/// The window whose top left output is that of tile `t`, `back` pixels further up and left.
#[inline(always)]
fn window(t: usize, grid: Tiles, size: [usize; 2], back: [usize; 2]) -> Window {
    Window {
        image: t / (grid.down * grid.across),
        top: (t / grid.across % grid.down * 4) as isize - back[0] as isize,
        left: (t % grid.across * 4) as isize - back[1] as isize,
        height: size[0],
        width: size[1],
    }
}

/// B^T x B of `count` tiles from `first` on.
#[inline(always)]
fn inputs_body<const FMA: bool>(
    g: &Geometry,
    x: &[f32],
    first: usize,
    count: usize,
    out: &mut [f32],
    store: Store,
) {
    let (c, grid) = (g.channels, tiles(g));
    for t in 0..count {
        let w = window(
            first + t,
            grid,
            [g.height, g.width],
            [g.spec.padding[0], g.spec.padding[2]],
        );
        let mut pixels = [[None; 6]; 6];
        for (i, row) in pixels.iter_mut().enumerate() {
            for (j, pixel) in row.iter_mut().enumerate() {
                *pixel = w.pixel(i, j).map(|p| p * c);
            }
        }
        for c0 in (0..c).step_by(LANES) {
            let mut d = [[[0f32; LANES]; 6]; 6];
            for i in 0..6 {
                for j in 0..6 {
                    if let Some(from) = pixels[i][j] {
                        d[i][j] = load(x, from + c0);
                    }
                }
            }
            let v = rows(&columns(&d, bt), bt);
            for i in 0..6 {
                for j in 0..6 {
                    let to = (i * 6 + j) * store.place + t * store.tile + c0;
                    out[to..to + LANES].copy_from_slice(&v[i][j]);
                }
            }
        }
    }
}

/// A dy A^T of `count` tiles from `first` on.
#[inline(always)]
fn gradients_body<const FMA: bool>(
    g: &Geometry,
    dy: &[f32],
    first: usize,
    count: usize,
    out: &mut [f32],
    store: Store,
) {
    let (c, grid) = (g.out_channels, tiles(g));
    for t in 0..count {
        let w = window(first + t, grid, [g.out_height, g.out_width], [0, 0]);
        for c0 in (0..c).step_by(LANES) {
            let mut d = [[[0f32; LANES]; 4]; 4];
            for i in 0..4 {
                for j in 0..4 {
                    if let Some(pixel) = w.pixel(i, j) {
                        d[i][j] = load(dy, pixel * c + c0);
                    }
                }
            }
            let z = rows(&columns(&d, a), a);
            for i in 0..6 {
                for j in 0..6 {
                    let to = (i * 6 + j) * store.place + t * store.tile + c0;
                    out[to..to + LANES].copy_from_slice(&z[i][j]);
                }
            }
        }
    }
}

/// A^T m A + bias of `count` tiles from `first` on, the first of which begins a row of tiles; `y` begins at its first pixel.
#[inline(always)]
fn outputs_body<const FMA: bool>(
    g: &Geometry,
    m: &[f32],
    first: usize,
    count: usize,
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    let (c, grid) = (g.out_channels, tiles(g));
    let size = [g.out_height, g.out_width];
    let start = window(first, grid, size, [0, 0]).pixel(0, 0).unwrap_or(0);
    for t in 0..count {
        let w = window(first + t, grid, size, [0, 0]);
        for c0 in (0..c).step_by(LANES) {
            let mut d = [[[0f32; LANES]; 6]; 6];
            for i in 0..6 {
                for j in 0..6 {
                    d[i][j] = load(m, ((i * 6 + j) * count + t) * c + c0);
                }
            }
            let mut out = rows(&columns(&d, at), at);
            if let Some(bias) = bias {
                let bias = load(bias, c0);
                for pixel in out.iter_mut().flatten() {
                    for lane in 0..LANES {
                        pixel[lane] += bias[lane];
                    }
                }
            }
            for i in 0..4 {
                for j in 0..4 {
                    if let Some(pixel) = w.pixel(i, j) {
                        let to = (pixel - start) * c + c0;
                        y[to..to + LANES].copy_from_slice(&out[i][j]);
                    }
                }
            }
        }
    }
}

simd! {
    fn transform_inputs(g: &Geometry, x: &[f32], first: usize, count: usize, out: &mut [f32], store: Store) = inputs_body;
    fn transform_gradients(g: &Geometry, dy: &[f32], first: usize, count: usize, out: &mut [f32], store: Store) = gradients_body;
    fn transform_outputs(g: &Geometry, m: &[f32], first: usize, count: usize, bias: Option<&[f32]>, y: &mut [f32]) = outputs_body;
}

/// What one forward task computes: its outputs must be contiguous.
enum Share {
    /// So many rows of tiles of one image.
    Bands(usize),
    /// So many whole images.
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
pub(super) fn forward(g: &Geometry, x: &[f32], w: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    let (ci, co, grid) = (g.channels, g.out_channels, tiles(g));
    let u = planes::transform_weights(w, ci * co);
    let row = g.out_width * co;
    let image = g.out_height * row;
    let mut y = vec![0f32; g.batch * image];
    let (group, chunk) = match share(g) {
        Share::Bands(bands) => (1, bands * 4 * row),
        Share::Images(images) => (images, images * image),
    };
    parallel::map_image_chunks(&mut y, group * image, chunk, |i, at, y| {
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
                let u = Matrix::new(&u[e * ci * co..], ci, co);
                product(&mut m[e * count * co..][..count * co], v, u, false);
            }
            transform_outputs(g, m, first, count, bias, y);
        });
    });
    y
}

/// dL/dw = G^T [ sum over tiles of (B^T x B) ⊙ (A dy A^T) ] G.
pub(super) fn weight_gradient(g: &Geometry, x: &[f32], dy: &[f32]) -> Vec<f32> {
    let (ci, co, grid) = (g.channels, g.out_channels, tiles(g));
    // A few floats more a tile, lest all tiles fall on the same cache set.
    let (stride_x, stride_y) = (36 * ci + LANES, 36 * co + LANES);
    let block = (WEIGHT_BLOCK / (stride_x + stride_y))
        .clamp(32, 1024)
        .min(grid.total);
    let mut sums = vec![0f32; 36 * ci * co];
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
                product(sums, v.t(), z, first > 0);
            });
        }
    });
    planes::restore_weights(&sums, ci * co)
}

#[cfg(test)]
mod tests {
    use super::super::{ConvSpec, Geometry, im2col};
    use super::*;
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
            let mut random =
                |n: usize| -> Vec<f32> { (0..n).map(|_| rng.random_range(-1.0..1.0)).collect() };
            let x = random(g.batch * g.height * g.width * g.channels);
            let w = random(9 * g.channels * g.out_channels);
            let bias = random(g.out_channels);
            let dy = random(g.positions() * g.out_channels);
            let error = distance(
                &forward(&g, &x, &w, Some(&bias)),
                &im2col::forward(&g, &x, &w, Some(&bias)),
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
