//! Every instruction set of this machine against plain f64 arithmetic, with buffers initialised to NaN.

use super::heads::Heads;
use super::{Attention, Visible, backward, forward};
use crate::autograd::Gradient;
use crate::scratch;
use crate::vector::Level;
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::sync::OnceLock;

/// q, k, v and the gradient of the result.
struct Input {
    heads: Heads,
    mask: &'static str,
    kept: Vec<bool>,
    values: [Vec<f32>; 4],
}

/// The result and the gradients of q, k and v.
type Output<T> = [Vec<T>; 4];

impl Input {
    fn random(
        rng: &mut StdRng,
        [batch, queries, keys, heads, dim]: [usize; 5],
        mask: &'static str,
        size: f32,
    ) -> Self {
        let heads = Heads {
            batch,
            heads,
            dim,
            queries,
            keys,
        };
        let mut kept: Vec<bool> = (0..batch * keys).map(|_| rng.random()).collect();
        for kept in kept.chunks_exact_mut(keys) {
            kept[rng.random_range(0..keys)] = true;
        }
        let mut values = |len: usize, size: f32| -> Vec<f32> {
            let len = batch * len * heads.heads * dim;
            (0..len).map(|_| rng.random_range(-size..size)).collect()
        };
        let values = [
            values(queries, size),
            values(keys, 2.0),
            values(keys, 1.0),
            values(queries, 1.0),
        ];
        Self {
            heads,
            mask,
            kept,
            values,
        }
    }

    fn attention(&self, level: Level) -> Attention {
        Attention {
            heads: self.heads,
            visible: match self.mask {
                "causal" => Visible::UpToSelf,
                "keys" => Visible::Kept(self.kept.clone()),
                _ => Visible::All,
            },
            level,
            stats: OnceLock::new(),
            #[cfg(feature = "cuda")]
            on_gpu: Default::default(),
        }
    }

    fn sees(&self, b: usize, i: usize, j: usize) -> bool {
        match self.mask {
            "causal" => j <= i,
            "keys" => self.kept[b * self.heads.keys + j],
            _ => true,
        }
    }

    /// Also the sums of the absolute values of each value's terms, and the largest score. Where terms cancel, the value is small
    /// and its rounding error is not.
    fn oracle(&self) -> (Output<f64>, Output<f64>, f64) {
        let Heads {
            batch,
            heads,
            dim: d,
            queries: n,
            keys: m,
        } = self.heads;
        let c = heads * d;
        let [q, k, v, g] = self
            .values
            .each_ref()
            .map(|x| x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>());
        let mut all = [n, n, m, m].map(|len| vec![0f64; batch * len * c]);
        let mut sizes = all.clone();
        let [out, dq, dk, dv] = &mut all;
        let [out_size, dq_size, dk_size, dv_size] = &mut sizes;
        let (scale, mut largest) = (1.0 / (d as f64).sqrt(), 0f64);
        for (b, h, i) in (0..batch * heads * n).map(|x| (x / n / heads, x / n % heads, x % n)) {
            let query = (b * n + i) * c + h * d;
            let key = |j: usize| (b * m + j) * c + h * d;
            let dot = |x: &[f64], at: usize, y: &[f64], to: usize| -> f64 {
                x[at..at + d]
                    .iter()
                    .zip(&y[to..to + d])
                    .map(|(x, y)| x * y)
                    .sum()
            };
            let dot_size = |x: &[f64], at: usize, y: &[f64], to: usize| -> f64 {
                let pairs = x[at..at + d].iter().zip(&y[to..to + d]);
                pairs.map(|(x, y)| (x * y).abs()).sum()
            };
            let scores: Vec<f64> = (0..m).map(|j| scale * dot(&q, query, &k, key(j))).collect();
            let seen: Vec<usize> = (0..m).filter(|&j| self.sees(b, i, j)).collect();
            let max = seen.iter().fold(f64::MIN, |max, &j| max.max(scores[j]));
            largest = seen
                .iter()
                .fold(largest, |max, &j| max.max(scores[j].abs()));
            let total: f64 = seen.iter().map(|&j| (scores[j] - max).exp()).sum();
            let p = |j: usize| (scores[j] - max).exp() / total;
            for &j in &seen {
                for e in 0..d {
                    out[query + e] += p(j) * v[key(j) + e];
                    out_size[query + e] += p(j) * v[key(j) + e].abs();
                }
            }
            let delta = dot(&g, query, out, query);
            let delta_size = dot_size(&g, query, out_size, query);
            for &j in &seen {
                let ds = scale * p(j) * (dot(&g, query, &v, key(j)) - delta);
                let ds_size = scale * p(j) * (dot_size(&g, query, &v, key(j)) + delta_size);
                for e in 0..d {
                    dq[query + e] += ds * k[key(j) + e];
                    dk[key(j) + e] += ds * q[query + e];
                    dv[key(j) + e] += p(j) * g[query + e];
                    dq_size[query + e] += ds_size * k[key(j) + e].abs();
                    dk_size[key(j) + e] += ds_size * q[query + e].abs();
                    dv_size[key(j) + e] += p(j) * g[query + e].abs();
                }
            }
        }
        (all, sizes, largest)
    }

    fn forward(&self, level: Level) -> (Vec<f32>, Vec<f32>) {
        let [q, k, v, _] = &self.values;
        poison(|| forward::forward(&self.attention(level), [q, k, v], level))
    }

    /// Gradients that are not wanted are empty.
    fn backward(
        &self,
        level: Level,
        out: &[f32],
        stats: &[f32],
        wanted: [bool; 3],
    ) -> [Vec<f32>; 3] {
        let [q, k, v, grad] = &self.values;
        let side = backward::Side {
            q,
            k,
            v,
            out,
            grad,
            stats,
        };
        let gradients = poison(|| backward::backward(&self.attention(level), &side, wanted));
        gradients.map(|g| match g {
            Gradient::Values(values) => values,
            _ => vec![],
        })
    }

    fn check(&self) {
        let (want, sizes, largest) = self.oracle();
        for level in Level::all() {
            let (out, stats) = self.forward(level);
            let [dq, dk, dv] = self.backward(level, &out, &stats, [true; 3]);
            // A score's rounding is an error of the weight.
            let tolerance = 4e-6 + 4e-7 * largest;
            let names = ["out", "dq", "dk", "dv"];
            for (i, got) in [&out, &dq, &dk, &dv].into_iter().enumerate() {
                let (want, name) = (&want[i], names[i]);
                assert_eq!(got.len(), want.len());
                for ((&got, want), size) in got.iter().zip(want).zip(&sizes[i]) {
                    let error = (f64::from(got) - want).abs() / size.max(1e-12);
                    assert!(
                        error <= tolerance,
                        "{level:?} {:?} {} {name}: {got} {want}, terms {size:.1e}, error {error:.1e}, scores up to {largest:.1e}",
                        self.heads,
                        self.mask
                    );
                }
            }
        }
    }
}

/// Runs `f` in a thread whose scratch buffer holds NaN.
fn poison<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    pool.expect("a thread").install(|| {
        scratch::with(1 << 20, |buffer| buffer.fill(f32::NAN));
        f()
    })
}

const MASKS: [&str; 3] = ["none", "causal", "keys"];

fn for_masks(rng: &mut StdRng, shape: [usize; 5], size: f32) {
    for mask in MASKS {
        if mask != "causal" || shape[1] == shape[2] {
            Input::random(rng, shape, mask, size).check();
        }
    }
}

#[test]
fn odd_shapes_and_those_of_known_models() {
    let rng = &mut StdRng::seed_from_u64(1);
    for shape in [
        [1, 1, 1, 1, 1],
        [2, 1, 7, 2, 8],
        [1, 33, 1, 3, 5],
        [2, 5, 129, 2, 40],
        [1, 65, 300, 1, 13],
        [1, 31, 130, 1, 80],
        [1, 40, 77, 2, 160],
        [2, 16, 16, 2, 20],
        [1, 64, 64, 2, 12],
        [2, 64, 16, 3, 8],
        [1, 20, 140, 1, 128],
        [1, 257, 257, 2, 64],
        [1, 9, 9, 1, 300],
        [0, 3, 3, 1, 4],
        [2, 0, 3, 2, 4],
    ] {
        for_masks(rng, shape, 2.0);
    }
}

#[test]
fn random_shapes() {
    let rng = &mut StdRng::seed_from_u64(2);
    for _ in 0..30 {
        let (n, m) = (rng.random_range(1..80), rng.random_range(1..200));
        let (heads, dim) = (rng.random_range(1..4), rng.random_range(1..60));
        for_masks(rng, [2, n, m, heads, dim], 2.0);
        for_masks(rng, [1, n, n, heads, dim], 2.0);
    }
}

#[test]
fn large_scores() {
    let rng = &mut StdRng::seed_from_u64(3);
    for shape in [[1, 37, 37, 2, 8], [2, 20, 300, 1, 40]] {
        // Scores up to about 1e2 and 1e4.
        for size in [30.0, 3e3] {
            for_masks(rng, shape, size);
        }
    }
}

/// Every subset of gradients has the same bits as with all.
#[test]
fn unwanted_gradients_are_left_out() {
    let rng = &mut StdRng::seed_from_u64(4);
    let input = Input::random(rng, [2, 37, 150, 2, 20], "keys", 2.0);
    for level in Level::all() {
        let (out, stats) = input.forward(level);
        let all = input.backward(level, &out, &stats, [true; 3]);
        for bits in 0..8 {
            let wanted = [bits & 1 != 0, bits & 2 != 0, bits & 4 != 0];
            let some = input.backward(level, &out, &stats, wanted);
            for i in 0..3 {
                let want = if wanted[i] { all[i].as_slice() } else { &[] };
                assert!(some[i] == want, "{level:?} {wanted:?} {i}");
            }
        }
    }
}

#[test]
fn bits_do_not_depend_on_threads() {
    let rng = &mut StdRng::seed_from_u64(5);
    for shape in [[3, 100, 300, 4, 8], [2, 70, 70, 2, 40], [8, 16, 16, 8, 20]] {
        let input = Input::random(rng, shape, "none", 2.0);
        let level = Level::best();
        let (out, stats) = input.forward(level);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build();
        let [q, k, v, _] = &input.values;
        let again = pool
            .expect("threads")
            .install(|| forward::forward(&input.attention(level), [q, k, v], level));
        assert!((out, stats) == again);
    }
}

/// A hidden key has no effect, whatever its values; a visible NaN affects all queries that see it.
#[test]
fn nan_is_seen_and_only_where_it_is() {
    let rng = &mut StdRng::seed_from_u64(6);
    let mut input = Input::random(rng, [1, 20, 40, 1, 12], "keys", 2.0);
    let hidden = input
        .kept
        .iter()
        .position(|kept| !kept)
        .expect("a hidden key");
    let kept = input.kept.iter().position(|&kept| kept).expect("a key");
    for level in Level::all() {
        let clean = input.forward(level).0;
        // Also a NaN with low bits, which must not be taken for an exponent.
        for nan in [f32::NAN, -f32::NAN, f32::from_bits(0x7fc0_0001)] {
            let old = input.values[1][hidden * 12 + 3];
            input.values[1][hidden * 12 + 3] = nan;
            assert!(input.forward(level).0 == clean, "{level:?}");
            input.values[1][hidden * 12 + 3] = old;
            let old = input.values[1][kept * 12 + 3];
            input.values[1][kept * 12 + 3] = nan;
            let out = input.forward(level).0;
            assert!(out.iter().all(|x| x.is_nan()), "{level:?}");
            input.values[1][kept * 12 + 3] = old;
        }
    }
}
