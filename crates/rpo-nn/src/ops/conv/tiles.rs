//! Winograd's transforms of inputs, output gradients and outputs, tile by tile.

use crate::geometry::Geometry;
use crate::vector::{Kernel, Level, Simd};

/// Channel counts must be multiples of this, the lanes of the widest register.
pub(super) const LANES: usize = 16;

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

/// `[f(0), .., f(5)]`, unrolled: a loop over an array of registers clears the array first.
macro_rules! six {
    (|$i:ident| $f:expr) => {
        [
            six!(@ $i 0, $f),
            six!(@ $i 1, $f),
            six!(@ $i 2, $f),
            six!(@ $i 3, $f),
            six!(@ $i 4, $f),
            six!(@ $i 5, $f),
        ]
    };
    (@ $i:ident $n:literal, $f:expr) => {{
        let $i = $n;
        $f
    }};
}

/// `[f(0), .., f(3)]`.
macro_rules! four {
    (|$i:ident| $f:expr) => {
        [
            six!(@ $i 0, $f),
            six!(@ $i 1, $f),
            six!(@ $i 2, $f),
            six!(@ $i 3, $f),
        ]
    };
}

/// B^T d.
#[inline(always)]
fn bt<S: Simd>(s: S, d: [S::V; 6]) -> [S::V; 6] {
    let times = |c, x, y| s.mul_add(s.splat(c), x, y);
    let (p, q) = (times(-4.0, d[2], d[4]), times(-4.0, d[1], d[3]));
    let (even, odd) = (s.sub(d[4], d[2]), s.sub(d[3], d[1]));
    [
        times(4.0, d[0], times(-5.0, d[2], d[4])),
        s.add(p, q),
        s.sub(p, q),
        times(2.0, odd, even),
        times(-2.0, odd, even),
        times(4.0, d[1], times(-5.0, d[3], d[5])),
    ]
}

/// A^T m.
#[inline(always)]
fn at<S: Simd>(s: S, m: [S::V; 6]) -> [S::V; 4] {
    let times = |c, x, y| s.mul_add(s.splat(c), x, y);
    let (a, b) = (s.add(m[1], m[2]), s.sub(m[1], m[2]));
    let (c, d) = (s.add(m[3], m[4]), s.sub(m[3], m[4]));
    [
        s.add(s.add(m[0], a), c),
        times(2.0, d, b),
        times(4.0, c, a),
        s.add(times(8.0, d, b), m[5]),
    ]
}

/// A y.
#[inline(always)]
fn a<S: Simd>(s: S, y: [S::V; 4]) -> [S::V; 6] {
    let times = |c, x, y| s.mul_add(s.splat(c), x, y);
    let (even, odd) = (s.add(y[0], y[2]), s.add(y[1], y[3]));
    let far_even = times(4.0, y[2], y[0]);
    let far_odd = times(8.0, y[3], s.add(y[1], y[1]));
    [
        y[0],
        s.add(even, odd),
        s.sub(even, odd),
        s.add(far_even, far_odd),
        s.sub(far_even, far_odd),
        y[3],
    ]
}

#[inline(always)]
fn load<S: Simd>(s: S, x: &[f32], at: usize) -> S::V {
    // SAFETY: the slice holds a register.
    unsafe { s.load(x[at..][..S::LANES].as_ptr()) }
}

#[inline(always)]
fn store<S: Simd>(s: S, x: &mut [f32], at: usize, v: S::V) {
    // SAFETY: the slice holds a register.
    unsafe { s.store(x[at..][..S::LANES].as_mut_ptr(), v) }
}

/// Layout of transformed tiles: position e of tile t begins at `e * place + t * tile`.
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
pub(super) fn transform_inputs(
    g: &Geometry,
    x: &[f32],
    first: usize,
    count: usize,
    out: &mut [f32],
    to: Store,
) {
    Level::best().run(Inputs {
        g,
        x,
        first,
        count,
        out,
        to,
    });
}

struct Inputs<'a> {
    g: &'a Geometry,
    x: &'a [f32],
    first: usize,
    count: usize,
    out: &'a mut [f32],
    to: Store,
}

impl Kernel for Inputs<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self {
            g,
            x,
            first,
            count,
            out,
            to,
        } = self;
        let (c, grid) = (g.channels, tiles(g));
        let back = [g.spec.padding[0], g.spec.padding[2]];
        for t in 0..count {
            let w = window(first + t, grid, [g.height, g.width], back);
            let pixels = six!(|i| six!(|j| w.pixel(i, j).map(|p| p * c)));
            for c0 in (0..c).step_by(S::LANES) {
                let columns = six!(|j| bt(
                    s,
                    six!(|i| match pixels[i][j] {
                        Some(from) => load(s, x, from + c0),
                        None => s.splat(0.0),
                    })
                ));
                let _: [(); 6] = six!(|i| {
                    let row = bt(s, six!(|j| columns[j][i]));
                    let _: [(); 6] = six!(|j| {
                        let at = (i * 6 + j) * to.place + t * to.tile + c0;
                        store(s, out, at, row[j]);
                    });
                });
            }
        }
    }
}

/// A dy A^T of `count` tiles from `first` on.
pub(super) fn transform_gradients(
    g: &Geometry,
    dy: &[f32],
    first: usize,
    count: usize,
    out: &mut [f32],
    to: Store,
) {
    Level::best().run(Gradients {
        g,
        dy,
        first,
        count,
        out,
        to,
    });
}

struct Gradients<'a> {
    g: &'a Geometry,
    dy: &'a [f32],
    first: usize,
    count: usize,
    out: &'a mut [f32],
    to: Store,
}

impl Kernel for Gradients<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self {
            g,
            dy,
            first,
            count,
            out,
            to,
        } = self;
        let (c, grid) = (g.out_channels, tiles(g));
        for t in 0..count {
            let w = window(first + t, grid, [g.out_height, g.out_width], [0, 0]);
            let pixels = four!(|i| four!(|j| w.pixel(i, j).map(|p| p * c)));
            for c0 in (0..c).step_by(S::LANES) {
                let columns = four!(|j| a(
                    s,
                    four!(|i| match pixels[i][j] {
                        Some(from) => load(s, dy, from + c0),
                        None => s.splat(0.0),
                    })
                ));
                let _: [(); 6] = six!(|i| {
                    let row = a(s, four!(|j| columns[j][i]));
                    let _: [(); 6] = six!(|j| {
                        let at = (i * 6 + j) * to.place + t * to.tile + c0;
                        store(s, out, at, row[j]);
                    });
                });
            }
        }
    }
}

/// A^T m A + bias of `count` tiles from `first` on, the first of which begins a row of tiles; `y` begins at its first pixel.
pub(super) fn transform_outputs(
    g: &Geometry,
    m: &[f32],
    first: usize,
    count: usize,
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    Level::best().run(Outputs {
        g,
        m,
        first,
        count,
        bias,
        y,
    });
}

struct Outputs<'a> {
    g: &'a Geometry,
    m: &'a [f32],
    first: usize,
    count: usize,
    bias: Option<&'a [f32]>,
    y: &'a mut [f32],
}

impl Kernel for Outputs<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self {
            g,
            m,
            first,
            count,
            bias,
            y,
        } = self;
        let (c, grid) = (g.out_channels, tiles(g));
        let size = [g.out_height, g.out_width];
        let start = window(first, grid, size, [0, 0]).pixel(0, 0).unwrap_or(0);
        for t in 0..count {
            let w = window(first + t, grid, size, [0, 0]);
            let pixels = four!(|i| four!(|j| w.pixel(i, j).map(|p| (p - start) * c)));
            for c0 in (0..c).step_by(S::LANES) {
                let columns =
                    six!(|j| at(s, six!(|i| load(s, m, ((i * 6 + j) * count + t) * c + c0))));
                let bias = match bias {
                    Some(bias) => load(s, bias, c0),
                    None => s.splat(0.0),
                };
                let _: [(); 4] = four!(|i| {
                    let row = at(s, six!(|j| columns[j][i]));
                    let _: [(); 4] = four!(|j| {
                        if let Some(to) = pixels[i][j] {
                            store(s, y, to + c0, s.add(row[j], bias));
                        }
                    });
                });
            }
        }
    }
}
