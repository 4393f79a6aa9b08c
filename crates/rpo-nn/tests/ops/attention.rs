//! Attention against naive f64 softmax.

use crate::oracle::{Array, check, distance, values};
use rpo_nn::ops::{self, Mask};

/// `keep(b, query, key)`.
fn naive(a: &[Array], heads: usize, keep: impl Fn(usize, usize, usize) -> bool) -> Array {
    let (q, k, v) = (&a[0], &a[1], &a[2]);
    let (n, m, c) = (q.dims[1], k.dims[1], q.dims[2]);
    let d = c / heads;
    let mut y = Array::zeros(&q.dims);
    for b in 0..q.dims[0] {
        for h in 0..heads {
            for i in 0..n {
                let score = |j: usize| {
                    let dot: f64 = (h * d..(h + 1) * d)
                        .map(|e| q.at(&[b, i, e]) * k.at(&[b, j, e]))
                        .sum();
                    dot / (d as f64).sqrt()
                };
                let kept: Vec<usize> = (0..m).filter(|&j| keep(b, i, j)).collect();
                let weights: Vec<f64> = kept.iter().map(|&j| score(j).exp()).collect();
                let total: f64 = weights.iter().sum();
                for e in h * d..(h + 1) * d {
                    let sum: f64 = kept
                        .iter()
                        .zip(&weights)
                        .map(|(&j, w)| w * v.at(&[b, j, e]))
                        .sum();
                    let at = y.offset(&[b, i, e]);
                    y.data[at] = sum / total;
                }
            }
        }
    }
    y
}

fn qkv(seed: u64, b: usize, n: usize, m: usize, c: usize) -> [Array; 3] {
    [
        Array::random(seed, &[b, n, c]).map(|v| 2.0 * v),
        Array::random(seed + 1, &[b, m, c]).map(|v| 2.0 * v),
        Array::random(seed + 2, &[b, m, c]),
    ]
}

#[test]
fn attention_is_the_naive_one() {
    for (b, n, m, heads, d) in [
        (2, 5, 7, 3, 8),
        (1, 9, 4, 1, 17),
        (2, 3, 11, 2, 40),
        (1, 1, 2, 2, 5),
        (1, 130, 3, 1, 2),
    ] {
        check(
            &format!("attention {b} x {n} x {m}, {heads} heads of {d}"),
            &qkv(n as u64, b, n, m, heads * d),
            4e-6,
            |t| ops::attention(&t[0], &t[1], &t[2], heads, &Mask::None),
            |a| naive(a, heads, |_, _, _| true),
        );
    }
}

#[test]
fn causal_attention_sees_no_later_key() {
    for (b, n, heads, d) in [(2, 7, 2, 8), (1, 2, 1, 3)] {
        check(
            "causal attention",
            &qkv(3, b, n, n, heads * d),
            4e-6,
            |t| ops::attention(&t[0], &t[1], &t[2], heads, &Mask::Causal),
            |a| naive(a, heads, |_, i, j| j <= i),
        );
    }
}

#[test]
fn masked_keys_are_not_seen() {
    let keep = Array::build(&[2, 7], |at| f64::from(u8::from((at[0] + at[1]) % 3 != 0)));
    check(
        "attention with a key mask",
        &qkv(5, 2, 4, 7, 16),
        4e-6,
        |t| ops::attention(&t[0], &t[1], &t[2], 2, &Mask::Keys(keep.tensor())),
        |a| naive(a, 2, |b, _, j| keep.at(&[b, j]) != 0.0),
    );
}

/// More queries and keys than fit into a tile, so that maxima and sums are carried over, with every mask.
#[test]
fn tiles_are_joined() {
    let (n, c) = (1100, 6);
    let a = qkv(7, 1, n, n, c);
    let keep = Array::build(&[1, n], |at| {
        f64::from(u8::from(at[1] % 5 != 2 && at[1] > 600))
    });
    type Keep<'a> = &'a dyn Fn(usize, usize, usize) -> bool;
    let masks: [(Mask, Keep<'_>); 3] = [
        (Mask::None, &|_, _, _| true),
        (Mask::Causal, &|_, i, j| j <= i),
        (Mask::Keys(keep.tensor()), &|_, _, j| {
            keep.at(&[0, j]) != 0.0
        }),
    ];
    let w = Array::random(9, &[1, n, c]);
    for (mask, kept) in masks {
        let vars: Vec<_> = a.iter().map(Array::var).collect();
        let y = ops::attention(&vars[0], &vars[1], &vars[2], 2, &mask).unwrap();
        let error = distance(&values(&y), &naive(&a, 2, kept).data);
        assert!(error < 4e-6, "{mask:?}: {error:.2e}");
        // Slopes along a random direction of all inputs.
        let grads = (y * w.tensor())
            .unwrap()
            .sum_all()
            .unwrap()
            .backward()
            .unwrap();
        let way: Vec<Array> = a.iter().map(|x| Array::random(11, &x.dims)).collect();
        let slope: f64 = vars
            .iter()
            .zip(&way)
            .map(|(v, way)| {
                let g = values(grads.get(v).unwrap());
                g.iter()
                    .zip(&way.data)
                    .map(|(&g, w)| f64::from(g) * w)
                    .sum::<f64>()
            })
            .sum();
        let loss = |step: f64| -> f64 {
            let moved: Vec<Array> = a
                .iter()
                .zip(&way)
                .map(|(x, way)| {
                    let mut x = x.clone();
                    x.data
                        .iter_mut()
                        .zip(&way.data)
                        .for_each(|(x, w)| *x += step * w);
                    x
                })
                .collect();
            naive(&moved, 2, kept)
                .data
                .iter()
                .zip(&w.data)
                .map(|(y, w)| y * w)
                .sum()
        };
        let want = (loss(1e-5) - loss(-1e-5)) / 2e-5;
        assert!(
            (slope - want).abs() < 1e-5 * want.abs().max(1.0),
            "{mask:?}: slope {slope}, {want}"
        );
    }
}

#[test]
fn large_scores_do_not_overflow_and_nan_is_seen() {
    let [q, k, v] = qkv(1, 1, 3, 4, 8);
    let big = |a: &Array| a.clone().map(|x| 300.0 * x);
    let a = [big(&q), big(&k), v];
    let t: Vec<_> = a.iter().map(Array::tensor).collect();
    let y = ops::attention(&t[0], &t[1], &t[2], 1, &Mask::None).unwrap();
    // Scores around 1e5 are exact to about 0.01.
    assert!(values(&y).iter().all(|v| v.is_finite() && v.abs() <= 1.0));
    let mut nan = k;
    nan.data[0] = f64::NAN;
    let y = ops::attention(&q.tensor(), &nan.tensor(), &t[2], 1, &Mask::None).unwrap();
    assert!(values(&y).iter().all(|v| v.is_nan()));
}

#[test]
fn wrong_arguments_are_errors() {
    let t = |dims: &[usize]| Array::random(1, dims).tensor();
    let (q, k) = (t(&[2, 3, 8]), t(&[2, 5, 8]));
    let message = |r: candle_core::Result<candle_core::Tensor>| r.unwrap_err().to_string();
    assert!(message(ops::attention(&q, &k, &k, 3, &Mask::None)).contains("3 heads"));
    assert!(message(ops::attention(&q, &k, &q, 2, &Mask::None)).contains("expected"));
    assert!(message(ops::attention(&q, &k, &k, 2, &Mask::Causal)).contains("causal"));
    assert!(message(ops::attention(&q, &k, &k, 2, &Mask::Keys(t(&[2, 4])))).contains("key mask"));
    let none = Array::build(&[2, 5], |at| at[0] as f64).tensor();
    assert!(message(ops::attention(&q, &k, &k, 2, &Mask::Keys(none))).contains("sample 0"));
}
