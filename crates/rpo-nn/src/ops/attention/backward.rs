//! The backward pass: a task processes whole heads, one tile of queries after the other.
//!
//! With P the weights, O the result and s = 1 / sqrt(d): dV = P^T dO, dS = P (dO V^T - rowsum(dO O)), dQ = s dS K, dK = s dS^T Q.
//! P is recomputed as in the forward pass, before division by the row's sum t: dO / t replaces dO.

use super::forward::Order;
use super::heads::{Heads, Joined};
use super::softmax::{Deltas, Slopes};
use super::spec::{Attention, KEYS, blocks};
use super::strips::{self, Strip};
use super::tiles::{Product, Rows};
use super::turn::{from_lanes, to_lanes};
use crate::autograd::Gradient;
use crate::parallel;
use crate::scratch;
use crate::vector::{Kernel, MOST_LANES, Simd};
use std::f64::consts::LOG2_E;

/// Approximate number of multiplications that makes a task worth its scheduling.
const TASK: usize = 1 << 20;

/// Inputs of the backward pass.
pub(super) struct Side<'a> {
    pub(super) q: &'a [f32],
    pub(super) k: &'a [f32],
    pub(super) v: &'a [f32],
    pub(super) out: &'a [f32],
    pub(super) grad: &'a [f32],
    /// See [`super::forward::forward`].
    pub(super) stats: &'a [f32],
}

/// The gradients of q, k and v that are wanted.
pub(super) fn backward(attention: &Attention, side: &Side<'_>, wanted: [bool; 3]) -> [Gradient; 3] {
    let heads = attention.heads;
    let (n, m) = (heads.queries, heads.keys);
    let lens = [n, m, m];
    let joined: [Option<Joined>; 3] =
        std::array::from_fn(|i| wanted[i].then(|| Joined::new(heads, lens[i])));
    if wanted.contains(&true) {
        let count = heads.batch * heads.heads;
        let per_task = (TASK / (n * m * (5 * heads.dim + 16)).max(1)).max(1);
        parallel::map(count.div_ceil(per_task), |task| {
            for bh in task * per_task..((task + 1) * per_task).min(count) {
                attention.level.run(Head {
                    attention,
                    side,
                    bh,
                    gradients: joined.each_ref().map(Option::as_ref),
                });
            }
        });
    }
    joined.map(|joined| match joined {
        // SAFETY: every head has written all rows of the gradients that are wanted.
        Some(joined) => Gradient::Values(unsafe { joined.finish() }),
        None => Gradient::None,
    })
}

/// All gradients of one head.
struct Head<'a> {
    attention: &'a Attention,
    side: &'a Side<'a>,
    bh: usize,
    gradients: [Option<&'a Joined>; 3],
}

impl Kernel for Head<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Heads {
            dim: d,
            queries: n,
            keys: m,
            ..
        } = self.attention.heads;
        let lanes = 2 * S::LANES;
        let strips = strips::cut::<S>(d);
        let wide = strips::width(&strips);
        let len = 2 * m * wide + (2 * wide + 4 * d + 2 * m.min(KEYS)) * lanes;
        scratch::with(len, |mut buffer| {
            let mut sums = [m * wide; 2].map(|len| scratch::take(&mut buffer, len));
            for sum in &mut sums {
                sum.fill(0.0);
            }
            for first in (0..n).step_by(lanes) {
                let tile = Tile {
                    head: &self,
                    strips: &strips,
                    first,
                    queries: lanes.min(n - first),
                };
                if tile.queries <= S::LANES {
                    tile.run::<S, 1>(s, &mut sums, &mut *buffer);
                } else {
                    tile.run::<S, 2>(s, &mut sums, &mut *buffer);
                }
            }
            for (sum, out) in sums.iter().zip(&self.gradients[1..]) {
                if let Some(out) = out {
                    // SAFETY: this head is this task's alone.
                    unsafe { strips::write(&strips, sum, m, out, self.bh) };
                }
            }
        });
    }
}

/// A tile of queries.
struct Tile<'a> {
    head: &'a Head<'a>,
    strips: &'a [Strip],
    first: usize,
    queries: usize,
}

impl Tile<'_> {
    /// Writes dQ, and adds to dK and dV, which are in strips.
    #[inline(always)]
    fn run<S: Simd, const N: usize>(
        &self,
        s: S,
        [dk, dv]: &mut [&mut [f32]; 2],
        mut buffer: &mut [f32],
    ) {
        let &Self {
            head:
                &Head {
                    attention,
                    side,
                    bh,
                    gradients,
                },
            strips,
            first,
            queries,
        } = self;
        let heads = attention.heads;
        let Heads {
            dim: d,
            queries: n,
            keys: m,
            ..
        } = heads;
        let seen = attention.seen(first + queries);
        let [want_q, want_k, want_v] = gradients.map(|g| g.is_some());
        let (lanes, width, wide) = (2 * S::LANES, N * S::LANES, strips::width(strips));
        let at = Order::new(heads, lanes).place(bh, first / lanes) * 2 * lanes;
        let (max, total) = side.stats[at..at + 2 * lanes].split_at(lanes);
        let mut factors = [0f32; MOST_LANES];
        for (factor, total) in factors.iter_mut().zip(total) {
            *factor = 1.0 / total;
        }
        let mut take = |len| scratch::take(&mut buffer, len);
        let [q_lanes, g_lanes, o_lanes, dq] = [d * width; 4].map(&mut take);
        let [q_strips, g_strips] = [queries * wide; 2].map(&mut take);
        let rows = |x| heads.rows(x, n, bh).some(first, queries);
        let (q, grad, out) = (rows(side.q), rows(side.grad), rows(side.out));
        let next = (first + queries).min(n);
        for x in [side.q, side.grad, side.out] {
            heads
                .rows(x, n, bh)
                .some(next, lanes.min(n - next))
                .prefetch();
        }
        let scale = heads.scale();
        to_lanes(q, &[(scale * LOG2_E) as f32; MOST_LANES], width, q_lanes);
        to_lanes(grad, &factors, width, g_lanes);
        to_lanes(out, &[1.0; MOST_LANES], width, o_lanes);
        let mut deltas = [0f32; MOST_LANES];
        s.call(Deltas::<N> {
            out: o_lanes,
            grad: g_lanes,
            deltas: &mut deltas,
        });
        if want_k {
            strips::pack(strips, q, &[scale as f32; MOST_LANES], q_strips);
        }
        if want_v {
            strips::pack(strips, grad, &factors, g_strips);
        }
        dq.fill(0.0);
        let (k, v) = (heads.rows(side.k, m, bh), heads.rows(side.v, m, bh));
        for (k0, cols) in blocks(seen, KEYS) {
            let (scores, slopes) = buffer[..2 * cols * width].split_at_mut(cols * width);
            let (k, v) = (k.some(k0, cols), v.some(k0, cols));
            s.call(Product::<N, false> {
                a: k,
                b: q_lanes,
                out: scores,
                add: false,
            });
            let image = bh / heads.heads;
            attention.hide(scores, width, image, first, k0);
            if want_q || want_k {
                s.call(Product::<N, false> {
                    a: v,
                    b: g_lanes,
                    out: slopes,
                    add: false,
                });
            }
            s.call(Slopes::<N> {
                scores,
                slopes,
                max,
                deltas: &deltas,
            });
            if want_v {
                let p = Rows::new(scores, width, cols, queries);
                strips::add_product(s, strips, p, (g_strips, queries), (dv, m, k0));
            }
            if want_k {
                let ds = Rows::new(slopes, width, cols, queries);
                strips::add_product(s, strips, ds, (q_strips, queries), (dk, m, k0));
            }
            if want_q {
                s.call(Product::<N, true> {
                    a: k,
                    b: slopes,
                    out: dq,
                    add: true,
                });
            }
        }
        if let Some(out) = gradients[0] {
            let factors = &[scale as f32; MOST_LANES][..queries];
            // SAFETY: this head is this task's alone.
            unsafe { from_lanes(dq, width, factors, out, bh, first) };
        }
    }
}
