//! Winograd's transforms of inputs, output gradients and outputs, tile by tile.

// The indices are the places of the formulas.
#![allow(clippy::needless_range_loop)]

use super::Geometry;
use crate::simd::simd;

/// Channels that a transform handles together; channel counts must be multiples.
pub(super) const LANES: usize = 16;
type Lanes = [f32; LANES];

/// Tiles of an image, and of everything.
#[derive(Clone, Copy)]
pub(super) struct Tiles {
    pub(super) down: usize,
    pub(super) across: usize,
    pub(super) total: usize,
}

pub(super) fn tiles(g: &Geometry) -> Tiles {
    let (down, across) = (g.out_height.div_ceil(4), g.out_width.div_ceil(4));
    Tiles {
        down,
        across,
        total: g.batch * down * across,
    }
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
pub(super) struct Store {
    pub(super) place: usize,
    pub(super) tile: usize,
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
    pub(super) fn transform_inputs(g: &Geometry, x: &[f32], first: usize, count: usize, out: &mut [f32], store: Store) = inputs_body;
    pub(super) fn transform_gradients(g: &Geometry, dy: &[f32], first: usize, count: usize, out: &mut [f32], store: Store) = gradients_body;
    pub(super) fn transform_outputs(g: &Geometry, m: &[f32], first: usize, count: usize, bias: Option<&[f32]>, y: &mut [f32]) = outputs_body;
}
