//! The backward pass: a task takes whole heads, tile of queries by tile of queries.
//!
//! With P the weights, O the result and s = 1 / sqrt(d): dV = P^T dO, dS = P (dO V^T - rowsum(dO O)), dQ = s dS K, dK = s dS^T Q.
//! P is recomputed as the forward pass had it, not yet divided by the row's sum t: dO / t takes the place of dO.

use super::heads::{Heads, Joined};
use super::softmax::{Deltas, Slopes};
use super::strips::{self, Strip};
use super::tiles::{Product, Rows};
use super::turn::{from_lanes, to_lanes};
use super::vector::{Kernel, MOST_LANES, Simd};
use super::{Attention, blocks};
use crate::autograd::Gradient;
use crate::parallel;
use crate::scratch;
use std::f64::consts::LOG2_E;

/// Most keys of one tile: two tiles of scores stay in the first cache.
const KEYS: usize = 64;

/// Multiplications, roughly, that make a task worth its scheduling.
const TASK: usize = 1 << 20;

/// What the backward pass reads.
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
        let len = 2 * m * wide + 2 * lanes * wide + 4 * lanes * d + 2 * m.min(KEYS) * lanes;
        scratch::with(len, |mut buffer| {
            let mut sums = [m * wide; 2].map(|len| scratch::take(&mut buffer, len));
            for sum in &mut sums {
                sum.fill(0.0);
            }
            for first in (0..n).step_by(lanes) {
                let queries = lanes.min(n - first);
                if queries <= S::LANES {
                    self.tile::<S, 1>(s, &strips, (first, queries), &mut *buffer, &mut sums);
                } else {
                    self.tile::<S, 2>(s, &strips, (first, queries), &mut *buffer, &mut sums);
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

impl Head<'_> {
    /// dQ of the queries from `first` on, and what they add to dK and dV, which are in strips.
    #[inline(always)]
    fn tile<S: Simd, const N: usize>(
        &self,
        s: S,
        strips: &[Strip],
        (first, queries): (usize, usize),
        mut buffer: &mut [f32],
        [dk, dv]: &mut [&mut [f32]; 2],
    ) {
        let heads = self.attention.heads;
        let Heads {
            dim: d,
            queries: n,
            keys: m,
            ..
        } = heads;
        let [want_q, want_k, want_v] = self.gradients.map(|g| g.is_some());
        let (lanes, width, wide) = (2 * S::LANES, N * S::LANES, strips::width(strips));
        let at = (self.bh * n.div_ceil(lanes) + first / lanes) * 2 * lanes;
        let (max, total) = self.side.stats[at..at + 2 * lanes].split_at(lanes);
        let mut factors = [0f32; MOST_LANES];
        for (factor, total) in factors.iter_mut().zip(total) {
            *factor = 1.0 / total;
        }
        let mut take = |len| scratch::take(&mut buffer, len);
        let [q_lanes, g_lanes, o_lanes, dq] = [d * width; 4].map(&mut take);
        let [q_strips, g_strips] = [queries * wide; 2].map(&mut take);
        let rows = |x| heads.rows(x, n, self.bh).some(first, queries);
        let (q, grad, out) = (rows(self.side.q), rows(self.side.grad), rows(self.side.out));
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
        let seen = self.attention.seen(first + queries);
        let (k, v) = (
            heads.rows(self.side.k, m, self.bh),
            heads.rows(self.side.v, m, self.bh),
        );
        for (k0, cols) in blocks(seen, KEYS) {
            let (scores, slopes) = buffer[..2 * cols * width].split_at_mut(cols * width);
            let (k, v) = (k.some(k0, cols), v.some(k0, cols));
            s.call(Product::<N, false> {
                a: k,
                b: q_lanes,
                out: scores,
                add: false,
            });
            let image = self.bh / heads.heads;
            self.attention.hide(scores, width, image, first, k0);
            s.call(Product::<N, false> {
                a: v,
                b: g_lanes,
                out: slopes,
                add: false,
            });
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
        if let Some(out) = self.gradients[0] {
            let factors = &[scale as f32; MOST_LANES][..queries];
            // SAFETY: this head is this task's alone.
            unsafe { from_lanes(dq, width, factors, out, self.bh, first) };
        }
    }
}
