//! Group norm and layer norm against naive f64.

use crate::oracle::{Array, check, distance, values};
use rpo_nn::ops;

fn standardise(x: &mut [&mut f64], eps: f64) {
    let n = x.len() as f64;
    let mean = x.iter().map(|v| **v).sum::<f64>() / n;
    let var = x.iter().map(|v| (**v - mean).powi(2)).sum::<f64>() / n;
    for v in x {
        **v = (**v - mean) / (var + eps).sqrt();
    }
}

fn group_norm(a: &[Array], groups: usize, eps: f64, silu: bool) -> Array {
    let (c, mut y) = (a[0].last(), a[0].clone());
    let image = y.data.len() / y.dims[0];
    for image in y.data.chunks_mut(image) {
        for g in 0..groups {
            let mut group: Vec<&mut f64> = image
                .iter_mut()
                .enumerate()
                .filter(|(i, _)| i % c / (c / groups) == g)
                .map(|(_, v)| v)
                .collect();
            standardise(&mut group, eps);
        }
    }
    for (i, v) in y.data.iter_mut().enumerate() {
        *v = *v * a[1].data[i % c] + a[2].data[i % c];
        if silu {
            *v /= 1.0 + (-*v).exp();
        }
    }
    y
}

fn layer_norm(a: &[Array], eps: f64) -> Array {
    let (c, mut y) = (a[0].last(), a[0].clone());
    for row in y.data.chunks_mut(c) {
        standardise(&mut row.iter_mut().collect::<Vec<_>>(), eps);
        for (i, v) in row.iter_mut().enumerate() {
            *v = *v * a[1].data[i] + a[2].data[i];
        }
    }
    y
}

#[test]
fn group_norm_is_the_naive_one() {
    for (n, (dims, groups)) in [
        (vec![2, 5, 3, 12], 4),
        (vec![3, 7, 5], 1),
        (vec![1, 9, 9, 34], 17),
        (vec![2, 1, 1, 6], 2),
        (vec![2, 40, 10, 48], 3), // several tasks an image
    ]
    .into_iter()
    .enumerate()
    {
        let (seed, c) = (n as u64, *dims.last().unwrap());
        let inputs = [
            Array::random(seed, &dims),
            Array::random(seed + 10, &[c]).map(|v| v + 0.5),
            Array::random(seed + 20, &[c]),
        ];
        for silu in [false, true] {
            check(
                &format!("group_norm {dims:?} in {groups}, silu {silu}"),
                &inputs,
                4e-6,
                |t| ops::group_norm(&t[0], &t[1], &t[2], groups, 1e-5, silu),
                |a| group_norm(a, groups, 1e-5, silu),
            );
        }
    }
}

#[test]
fn layer_norm_is_the_naive_one() {
    for (n, dims) in [vec![5, 7], vec![2, 3, 40], vec![1, 1, 17], vec![3, 200, 33]]
        .into_iter()
        .enumerate()
    {
        let (seed, c) = (n as u64, *dims.last().unwrap());
        let inputs = [
            Array::random(seed, &dims),
            Array::random(seed + 10, &[c]).map(|v| v + 0.5),
            Array::random(seed + 20, &[c]),
        ];
        check(
            &format!("layer_norm {dims:?}"),
            &inputs,
            4e-6,
            |t| ops::layer_norm(&t[0], &t[1], &t[2], 1e-5),
            |a| layer_norm(a, 1e-5),
        );
    }
}

/// The variance of numbers around 1000 must not cancel. The inputs themselves are accurate only to 3e-5 of the spread.
#[test]
fn a_mean_far_from_zero_does_no_harm() {
    let far = Array::random(3, &[2, 6, 6, 8]).map(|v| v + 1000.0);
    let (one, zero) = (Array::zeros(&[8]).map(|_| 1.0), Array::zeros(&[8]));
    let inputs = [far, one, zero];
    let t: Vec<_> = inputs.iter().map(Array::tensor).collect();
    let y = ops::group_norm(&t[0], &t[1], &t[2], 2, 1e-5, false).unwrap();
    let error = distance(&values(&y), &group_norm(&inputs, 2, 1e-5, false).data);
    assert!(error < 1e-4, "group_norm: {error:.2e}");
    let y = ops::layer_norm(&t[0], &t[1], &t[2], 1e-5).unwrap();
    let error = distance(&values(&y), &layer_norm(&inputs, 1e-5).data);
    assert!(error < 1e-4, "layer_norm: {error:.2e}");
}

#[test]
fn nan_is_seen() {
    let mut x = Array::random(3, &[2, 3, 3, 4]);
    x.data[5] = f64::NAN;
    let (g, b) = (
        Array::random(1, &[4]).tensor(),
        Array::random(2, &[4]).tensor(),
    );
    for silu in [false, true] {
        let y = values(&ops::group_norm(&x.tensor(), &g, &b, 2, 1e-5, silu).unwrap());
        assert!(y.iter().any(|v| v.is_nan()));
        assert!(
            y[36..].iter().all(|v| v.is_finite()),
            "the other image is not touched"
        );
    }
    let y = values(&ops::layer_norm(&x.tensor(), &g, &b, 1e-5).unwrap());
    assert!(y[4..8].iter().all(|v| v.is_nan()) && y[8..].iter().all(|v| v.is_finite()));
}

#[test]
fn wrong_shapes_are_errors() {
    let t = |dims: &[usize]| Array::random(1, dims).tensor();
    let (x, c) = (t(&[2, 3, 6]), t(&[6]));
    assert!(
        ops::group_norm(&x, &c, &c, 4, 1e-5, true)
            .unwrap_err()
            .to_string()
            .contains("4 groups")
    );
    assert!(ops::group_norm(&x, &c, &c, 0, 1e-5, true).is_err());
    assert!(ops::group_norm(&x, &t(&[5]), &c, 2, 1e-5, true).is_err());
    assert!(ops::layer_norm(&x, &c, &t(&[3]), 1e-5).is_err());
}
