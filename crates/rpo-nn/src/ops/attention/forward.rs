//! The forward pass: a tile has as many queries of one head as two registers have lanes.

use super::heads::{Heads, Joined};
use super::softmax::{Advance, LOWEST};
use super::spec::{Attention, KEYS, blocks};
use super::tiles::{Product, Rows};
use super::turn::{from_lanes, to_lanes};
use crate::parallel;
use crate::scratch;
use crate::vector::{Kernel, Level, MOST_LANES, Simd};
use std::f64::consts::LOG2_E;

/// Approximate number of multiplications that makes a task worth its scheduling.
const TASK: usize = 1 << 20;

/// Elements of keys and values of all heads up to which heads alternate tile by tile: all stay in the second-level cache, and rows
/// of queries and results are read and written contiguously.
const HEADS_IN_TURN: usize = 1 << 17;

/// The order of all tiles of all heads.
#[derive(Clone, Copy)]
pub(super) struct Order {
    heads: usize,
    tiles: usize,
    in_turn: bool,
}

impl Order {
    pub(super) fn new(heads: Heads, lanes: usize) -> Self {
        Self {
            heads: heads.heads,
            tiles: heads.queries.div_ceil(lanes),
            in_turn: 2 * heads.keys * heads.heads * heads.dim <= HEADS_IN_TURN,
        }
    }

    /// Index of this tile of head `bh`.
    pub(super) fn place(self, bh: usize, tile: usize) -> usize {
        if self.in_turn {
            (bh / self.heads * self.tiles + tile) * self.heads + bh % self.heads
        } else {
            bh * self.tiles + tile
        }
    }

    /// Head and tile at this index.
    fn at(self, place: usize) -> (usize, usize) {
        if self.in_turn {
            let (row, h) = (place / self.heads, place % self.heads);
            (row / self.tiles * self.heads + h, row % self.tiles)
        } else {
            (place / self.tiles, place % self.tiles)
        }
    }
}

/// The result `[B, N, C]`, and for every tile in its [`Order`] the maxima of its lanes' scores (in units of ln 2), then the sums of their weights.
pub(super) fn forward(
    attention: &Attention,
    [q, k, v]: [&[f32]; 3],
    level: Level,
) -> (Vec<f32>, Vec<f32>) {
    let heads = attention.heads;
    let lanes = level.tile_lanes();
    let order = Order::new(heads, lanes);
    let count = heads.batch * heads.heads * order.tiles;
    let per_task = (TASK / (lanes * heads.keys * (2 * heads.dim + 16))).max(1);
    let out = Joined::new(heads, heads.queries);
    let stats = parallel::map(count.div_ceil(per_task), |task| {
        let some = task * per_task..((task + 1) * per_task).min(count);
        let mut stats = vec![0f32; some.len() * 2 * lanes];
        for (i, stats) in some.zip(stats.chunks_exact_mut(2 * lanes)) {
            let (bh, tile) = order.at(i);
            let first = tile * lanes;
            let queries = lanes.min(heads.queries - first);
            let work = Tile {
                attention,
                bh,
                first,
                q: heads.rows(q, heads.queries, bh).some(first, queries),
                k: heads.rows(k, heads.keys, bh),
                v: heads.rows(v, heads.keys, bh),
                out: &out,
                stats,
            };
            level.run(work);
        }
        stats
    });
    // SAFETY: the tiles of all tasks together are all rows of all heads.
    (unsafe { out.finish() }, stats.concat())
}

struct Tile<'a> {
    attention: &'a Attention,
    bh: usize,
    /// The first query.
    first: usize,
    q: Rows<'a>,
    k: Rows<'a>,
    v: Rows<'a>,
    out: &'a Joined,
    stats: &'a mut [f32],
}

impl Kernel for Tile<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        if self.q.len() <= S::LANES {
            self.lanes::<S, 1>(s);
        } else {
            self.lanes::<S, 2>(s);
        }
    }
}

impl Tile<'_> {
    #[inline(always)]
    fn lanes<S: Simd, const N: usize>(self, s: S) {
        let Heads {
            heads,
            dim: d,
            keys: m,
            ..
        } = self.attention.heads;
        let width = N * S::LANES;
        let (max, total) = self.stats.split_at_mut(2 * S::LANES);
        max.fill(LOWEST);
        total.fill(0.0);
        scratch::with((2 * d + m.min(KEYS)) * width, |mut buffer| {
            let queries = scratch::take(&mut buffer, d * width);
            let result = scratch::take(&mut buffer, d * width);
            let scale = (self.attention.heads.scale() * LOG2_E) as f32;
            to_lanes(self.q, &[scale; MOST_LANES], width, queries);
            result.fill(0.0);
            let seen = self.attention.seen(self.first + self.q.len());
            for (k0, cols) in blocks(seen, KEYS) {
                let scores = &mut buffer[..cols * width];
                s.call(Product::<N, false> {
                    a: self.k.some(k0, cols),
                    b: queries,
                    out: scores,
                    add: false,
                });
                self.attention
                    .hide(scores, width, self.bh / heads, self.first, k0);
                s.call(Advance::<N> {
                    scores,
                    max,
                    total,
                    result,
                });
                s.call(Product::<N, true> {
                    a: self.v.some(k0, cols),
                    b: scores,
                    out: result,
                    add: true,
                });
            }
            let mut factors = [0f32; MOST_LANES];
            for (factor, total) in factors.iter_mut().zip(&*total) {
                *factor = 1.0 / total;
            }
            let factors = &factors[..self.q.len()];
            // SAFETY: these rows are this tile's alone.
            unsafe { from_lanes(result, width, factors, self.out, self.bh, self.first) };
        });
    }
}
