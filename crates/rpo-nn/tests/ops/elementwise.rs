//! Activations, sums, concatenation, resizing, embeddings and the squared error against naive f64.

use crate::oracle::{Array, check, erf, values};
use candle_core::{Device, Tensor};
use rpo_nn::ops::{self, Activation};

fn exact(f: Activation, x: f64) -> f64 {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    match f {
        Activation::Silu => x * sigmoid(x),
        Activation::Gelu => 0.5 * x * (1.0 + erf(x / 2f64.sqrt())),
        Activation::GeluTanh => {
            0.5 * x
                * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh())
        }
        Activation::QuickGelu => x * sigmoid(1.702 * x),
        Activation::Relu => x.max(0.0),
        Activation::Tanh => x.tanh(),
        Activation::Sigmoid => sigmoid(x),
    }
}

const ALL: [Activation; 7] = [
    Activation::Silu,
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::QuickGelu,
    Activation::Relu,
    Activation::Tanh,
    Activation::Sigmoid,
];

#[test]
fn activations_are_the_exact_functions() {
    for f in ALL {
        for (scale, dims) in [(1.0, vec![3, 7]), (6.0, vec![2, 3, 5, 17])] {
            let x = Array::random(4, &dims).map(|v| scale * v);
            check(
                &format!("{f:?} in ±{scale}"),
                &[x],
                2e-6,
                |t| ops::activation(&t[0], f),
                |a| {
                    let mut y = a[0].clone();
                    y.data.iter_mut().for_each(|v| *v = exact(f, *v));
                    y
                },
            );
        }
    }
}

#[test]
fn activations_of_extreme_numbers() {
    for f in ALL {
        let x = [f32::NAN, -1e4, 1e4, -90.0, 90.0, 0.0].to_vec();
        let var = candle_core::Var::from_vec(x.clone(), 6, &candle_core::Device::Cpu).unwrap();
        let y = ops::activation(&var, f).unwrap();
        let grads = y.sum_all().unwrap().backward().unwrap();
        let (y, g) = (values(&y), values(grads.get(&var).unwrap()));
        assert!(y[0].is_nan(), "{f:?}(NaN) = {}", y[0]);
        for i in 1..6 {
            let want = exact(f, f64::from(x[i]));
            assert!(
                (f64::from(y[i]) - want).abs() <= 1e-6 * want.abs().max(1.0),
                "{f:?}({}) = {}",
                x[i],
                y[i]
            );
            assert!(g[i].is_finite(), "{f:?}'({}) = {}", x[i], g[i]);
        }
    }
}

#[test]
fn geglu_gates_with_the_second_half() {
    for dims in [vec![3, 10], vec![2, 5, 34]] {
        let x = Array::random(4, &dims).map(|v| 3.0 * v);
        let f = x.last() / 2;
        let mut out = dims.clone();
        *out.last_mut().unwrap() = f;
        check(
            "geglu",
            &[x],
            1e-6,
            |t| ops::geglu(&t[0]),
            |a| {
                let mut y = Array::zeros(&out);
                for r in 0..y.rows() {
                    for i in 0..f {
                        y.data[r * f + i] =
                            a[0].row(r)[i] * exact(Activation::Gelu, a[0].row(r)[f + i]);
                    }
                }
                y
            },
        );
    }
    assert!(ops::geglu(&Array::random(1, &[2, 3]).tensor()).is_err());
}

#[test]
fn sums_and_channel_scales() {
    let x = Array::random(1, &[2, 3, 5, 7]);
    let (y, t) = (Array::random(2, &[2, 3, 5, 7]), Array::random(3, &[2, 7]));
    let each = |a: &[Array], f: &dyn Fn(f64, f64) -> f64| {
        Array::build(&a[0].dims, |at| {
            let other = if a[1].dims.len() == 4 {
                a[1].at(at)
            } else {
                a[1].at(&[at[0], at[3]])
            };
            f(a[0].at(at), other)
        })
    };
    let pair = [x.clone(), t];
    check(
        "add",
        &[x, y],
        1e-6,
        |t| ops::add(&t[0], &t[1]),
        |a| each(a, &|x, y| x + y),
    );
    check(
        "add_channels",
        &pair,
        1e-6,
        |t| ops::add_channels(&t[0], &t[1]),
        |a| each(a, &|x, y| x + y),
    );
    check(
        "mul_channels",
        &pair,
        1e-6,
        |t| ops::mul_channels(&t[0], &t[1]),
        |a| each(a, &|x, y| x * y),
    );
    // One tensor as both arguments gets both gradients.
    check(
        "x + x",
        &pair[..1],
        1e-6,
        |t| ops::add(&t[0], &t[0]),
        |a| each(&[a[0].clone(), a[0].clone()], &|x, y| x + y),
    );
    let t = |dims: &[usize]| Array::random(1, dims).tensor();
    assert!(ops::add(&t(&[2, 3]), &t(&[3, 2])).is_err());
    assert!(ops::add_channels(&t(&[2, 4, 3]), &t(&[3])).is_err());
    assert!(ops::mul_channels(&t(&[2, 4, 3]), &t(&[1, 3])).is_err());
}

#[test]
fn concat_puts_channels_side_by_side() {
    let pair = [
        Array::random(1, &[2, 3, 2, 5]),
        Array::random(2, &[2, 3, 2, 3]),
    ];
    check(
        "concat",
        &pair,
        1e-7,
        |t| ops::concat_channels(&t[0], &t[1]),
        |a| {
            Array::build(&[2, 3, 2, 8], |at| {
                let (side, c) = if at[3] < 5 {
                    (0, at[3])
                } else {
                    (1, at[3] - 5)
                };
                a[side].at(&[at[0], at[1], at[2], c])
            })
        },
    );
    let t = |dims: &[usize]| Array::random(1, dims).tensor();
    assert!(ops::concat_channels(&t(&[2, 4, 3]), &t(&[2, 5, 3])).is_err());
}

#[test]
fn upsampling_repeats_the_nearest() {
    for (h, w) in [(6, 10), (7, 5), (3, 11)] {
        check(
            "upsample",
            &[Array::random(1, &[2, 3, 5, 4])],
            1e-6,
            |t| ops::upsample_nearest(&t[0], (h, w)),
            |a| {
                Array::build(&[2, h, w, 4], |at| {
                    a[0].at(&[at[0], at[1] * 3 / h, at[2] * 5 / w, at[3]])
                })
            },
        );
    }
    assert!(ops::upsample_nearest(&Array::random(1, &[1, 3, 3, 1]).tensor(), (2, 6)).is_err());
}

#[test]
fn embedding_takes_rows_and_sums_their_gradients() {
    let ids = [3u32, 0, 3, 1, 3, 0];
    check(
        "embedding",
        &[Array::random(1, &[4, 5])],
        1e-6,
        |t| ops::embedding(&t[0], &ids, &[2, 3]),
        |a| {
            Array::build(&[2, 3, 5], |at| {
                a[0].at(&[ids[at[0] * 3 + at[1]] as usize, at[2]])
            })
        },
    );
    let table = Array::random(1, &[4, 5]).tensor();
    assert!(
        ops::embedding(&table, &[4], &[1])
            .unwrap_err()
            .to_string()
            .contains("id 4")
    );
    assert!(ops::embedding(&table, &[1], &[2]).is_err());
    // All dimensions but the last are rows.
    let tall = Array::random(9, &[2, 3, 5]);
    let flat = Tensor::from_vec(values(&tall.tensor()), (6, 5), &Device::Cpu).unwrap();
    let of = |table: &Tensor| values(&ops::embedding(table, &[5, 0], &[2]).unwrap());
    assert_eq!(of(&tall.tensor()), of(&flat));
}

#[test]
fn added_rows_follow_those_of_the_table() {
    let ids = [3u32, 5, 3, 4, 0, 5];
    check(
        "embedding with added rows",
        &[Array::random(1, &[4, 5]), Array::random(2, &[2, 5])],
        1e-6,
        |t| ops::embedding_with(&t[0], &t[1], &ids, &[2, 3]),
        |a| {
            Array::build(&[2, 3, 5], |at| match ids[at[0] * 3 + at[1]] as usize {
                id @ 0..4 => a[0].at(&[id, at[2]]),
                id => a[1].at(&[id - 4, at[2]]),
            })
        },
    );
    let (table, added) = (
        Array::random(1, &[4, 5]).tensor(),
        Array::random(2, &[2, 5]).tensor(),
    );
    let refused =
        |added: &Tensor, id: u32| ops::embedding_with(&table, added, &[id], &[1]).is_err();
    assert!(!refused(&added, 5) && refused(&added, 6));
    assert!(refused(&Array::random(2, &[2, 4]).tensor(), 0));
}

#[test]
fn squared_error_is_a_mean_a_sample() {
    for dims in [vec![3, 2, 5, 4], vec![1, 1], vec![2, 4001]] {
        let pair = [Array::random(1, &dims), Array::random(2, &dims)];
        check(
            "squared error",
            &pair,
            1e-6,
            |t| ops::mean_squared_per_sample(&t[0], &t[1]),
            |a| {
                let n = a[0].data.len() / dims[0];
                Array::build(&[dims[0]], |at| {
                    (at[0] * n..(at[0] + 1) * n)
                        .map(|i| (a[0].data[i] - a[1].data[i]).powi(2))
                        .sum::<f64>()
                        / n as f64
                })
            },
        );
    }
    let t = |dims: &[usize]| Array::random(1, dims).tensor();
    assert!(ops::mean_squared_per_sample(&t(&[2, 3]), &t(&[2, 4])).is_err());
}

#[test]
fn a_detached_first_token_has_its_values_and_no_gradient() {
    for dims in [[2, 3, 4], [3, 1, 5], [1, 77, 8]] {
        let x = Array::random(5, &dims);
        let data: Vec<f32> = x.data.iter().map(|v| *v as f32).collect();
        let var = candle_core::Var::from_vec(data.clone(), &dims, &Device::Cpu).unwrap();
        let y = ops::detach_first(&var).unwrap();
        assert_eq!(values(&y), data);
        // The gradient of Σ y² / 2 is y, but for the first tokens.
        let grads = (y.sqr().unwrap() * 0.5).unwrap().sum_all().unwrap();
        let found = values(grads.backward().unwrap().get(&var).unwrap());
        let (sample, token) = (dims[1] * dims[2], dims[2]);
        for (i, (found, value)) in found.iter().zip(&data).enumerate() {
            let wanted = if i % sample < token { 0.0 } else { *value };
            assert_eq!(*found, wanted, "{dims:?} {i}");
        }
    }
    let flat = Tensor::zeros((2, 3), candle_core::DType::F32, &Device::Cpu).unwrap();
    let said = ops::detach_first(&flat).unwrap_err().to_string();
    assert!(said.contains("expected [B, S, C]"), "{said}");
}
