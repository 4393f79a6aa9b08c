//! Fused passes on feature maps against the same in f64, on one thread and on several.

use crate::oracle::{Array, distance, values};
use candle_core::Tensor;
use rpo_nn::Place;
use rpo_nn::frozen::{After, Depthwise, Maps, Pointwise};
use rpo_nn::ops::{Activation, ConvSpec};

fn maps(a: &Array) -> Maps {
    Maps::from_tensor(&a.tensor()).unwrap()
}

fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + crate::oracle::erf(x / 2f64.sqrt()))
}

/// `run` on one, two and three threads, with the same bits.
fn on_threads(run: impl Fn() -> Vec<f32> + Sync) -> Vec<f32> {
    let [one, two, three] = [1, 2, 3].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(&run)
    });
    assert!(one == two && one == three, "bits depend on the threads");
    one
}

#[test]
fn pointwise_is_the_naive_product_with_what_surrounds_it() {
    for [b, h, w, i, o] in [[2, 5, 7, 19, 33], [1, 40, 31, 24, 50], [3, 1, 1, 5, 3]] {
        let x = Array::random(1, &[b, h, w, i]);
        let (weight, bias) = (Array::random(2, &[o, i]), Array::random(3, &[o]));
        let (gate, other) = (Array::random(4, &[b, i]), Array::random(5, &[b, h, w, o]));
        let layer = Pointwise::new(&weight.tensor(), &bias.tensor(), &Place::default()).unwrap();
        let exact = |gated: bool, at: &[usize]| {
            let product = |k: usize| {
                let gate = if gated { gate.at(&[at[0], k]) } else { 1.0 };
                x.at(&[at[0], at[1], at[2], k]) * gate * weight.at(&[at[3], k])
            };
            bias.data[at[3]] + (0..i).map(product).sum::<f64>()
        };
        let (input, add, gates) = (maps(&x), maps(&other), gate.tensor());
        let run = |gate: Option<&Tensor>, after: After<'_>| {
            // A buffer that was larger before leaves no old values.
            let mut out = maps(&Array::random(9, &[b + 1, h, w, o]));
            layer.forward(&input, gate, after, &mut out).unwrap();
            assert_eq!(out.dims(), [b, h, w, o]);
            values(&out.into_tensor().unwrap())
        };
        let dims = [b, h, w, o];
        let cases: [(Vec<f32>, Array); 4] = [
            (
                on_threads(|| run(None, After::Nothing)),
                Array::build(&dims, |at| exact(false, at)),
            ),
            (
                on_threads(|| run(Some(&gates), After::Add(&add))),
                Array::build(&dims, |at| exact(true, at) + other.at(at)),
            ),
            (
                on_threads(|| run(None, After::Activation(Activation::Silu))),
                Array::build(&dims, |at| silu(exact(false, at))),
            ),
            (
                on_threads(|| run(Some(&gates), After::Activation(Activation::Gelu))),
                Array::build(&dims, |at| gelu(exact(true, at))),
            ),
        ];
        for (case, (got, want)) in cases.iter().enumerate() {
            let error = distance(got, &want.data);
            assert!(error <= 2e-6, "{dims:?}, case {case}: {error:.1e}");
        }
    }
}

#[test]
fn depthwise_is_the_naive_convolution_and_its_means() {
    let asymmetric = ConvSpec {
        stride: 2,
        padding: [1, 2, 1, 2],
    };
    for (kernel, spec, [b, h, w, c]) in [
        (3, ConvSpec::same(3), [2, 19, 11, 33]),
        (5, ConvSpec::same(5), [1, 10, 10, 48]),
        (5, asymmetric, [2, 21, 18, 16]),
        (7, ConvSpec::new(2, 3), [1, 9, 8, 5]),
        (3, ConvSpec::new(3, 1), [1, 17, 23, 20]),
        (3, ConvSpec::new(1, 2), [1, 2, 1, 17]),
    ] {
        let x = Array::random(1, &[b, h, w, c]);
        let (weight, bias) = (
            Array::random(2, &[kernel, kernel, c]),
            Array::random(3, &[c]),
        );
        let layer =
            Depthwise::new(&weight.tensor(), &bias.tensor(), spec, &Place::default()).unwrap();
        let [top, bottom, left, right] = spec.padding;
        let out = |n: usize, pad: usize| (n + pad - kernel) / spec.stride + 1;
        let dims = [b, out(h, top + bottom), out(w, left + right), c];
        let exact = Array::build(&dims, |at| {
            let mut total = bias.data[at[3]];
            for ky in 0..kernel {
                for kx in 0..kernel {
                    let y = (at[1] * spec.stride + ky).checked_sub(top);
                    let x_ = (at[2] * spec.stride + kx).checked_sub(left);
                    if let (Some(y), Some(x_)) = (y.filter(|y| *y < h), x_.filter(|x| *x < w)) {
                        total += x.at(&[at[0], y, x_, at[3]]) * weight.at(&[ky, kx, at[3]]);
                    }
                }
            }
            total
        });
        for (function, of) in [
            (Activation::Silu, silu as fn(f64) -> f64),
            (Activation::Gelu, gelu),
        ] {
            let want: Vec<f64> = exact.data.iter().map(|v| of(*v)).collect();
            let places = dims[1] * dims[2];
            let means: Vec<f64> = (0..b * c)
                .map(|i| {
                    let image = &want[i / c * places * c..][..places * c];
                    image.iter().skip(i % c).step_by(c).sum::<f64>() / places as f64
                })
                .collect();
            let input = maps(&x);
            let both = on_threads(|| {
                let mut out = Maps::default();
                let means = layer.forward(&input, function, &mut out).unwrap();
                let mut all = values(&out.into_tensor().unwrap());
                all.extend(values(&means));
                all
            });
            let (map, mean) = both.split_at(want.len());
            let errors = [distance(map, &want), distance(mean, &means)];
            assert!(
                errors.iter().all(|e| *e <= 2e-6),
                "{kernel} {spec:?} {dims:?} {function:?}: {errors:.1?}"
            );
        }
    }
}

#[test]
fn sizes_that_do_not_fit_are_errors() {
    let t = |dims: &[usize]| Array::random(1, dims).tensor();
    let x = Maps::from_tensor(&t(&[1, 2, 2, 3])).unwrap();
    let layer = Pointwise::new(&t(&[4, 3]), &t(&[4]), &Place::default()).unwrap();
    let mut out = Maps::default();
    assert!(Pointwise::new(&t(&[4, 3]), &t(&[3]), &Place::default()).is_err());
    let other = Maps::from_tensor(&t(&[1, 2, 2, 3])).unwrap();
    assert!(
        layer
            .forward(&x, None, After::Add(&other), &mut out)
            .is_err()
    );
    assert!(
        layer
            .forward(&x, Some(&t(&[1, 4])), After::Nothing, &mut out)
            .is_err()
    );
    let narrow = Pointwise::new(&t(&[4, 2]), &t(&[4]), &Place::default()).unwrap();
    assert!(narrow.forward(&x, None, After::Nothing, &mut out).is_err());
    assert!(
        Depthwise::new(
            &t(&[3, 3, 3]),
            &t(&[2]),
            ConvSpec::same(3),
            &Place::default()
        )
        .is_err()
    );
    let wide = Depthwise::new(
        &t(&[3, 3, 3]),
        &t(&[3]),
        ConvSpec::new(1, 0),
        &Place::default(),
    )
    .unwrap();
    assert!(wide.forward(&x, Activation::Silu, &mut out).is_err());
}
