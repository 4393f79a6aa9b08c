//! Convolutions and linear layers against naive f64 loops.

use crate::oracle::{Array, check};
use rpo_nn::ops::{self, ConvSpec};

/// sum over taps and channels of x w, plus b; groups = 1, or one group per channel with `depthwise`.
fn naive(i: &[Array], spec: ConvSpec, depthwise: bool) -> Array {
    let (x, w) = (&i[0], &i[1]);
    let (kh, kw) = (w.dims[0], w.dims[1]);
    let [top, bottom, left, right] = spec.padding;
    let out = |n: usize, before: usize, after: usize, k: usize| {
        (n + before + after - k) / spec.stride + 1
    };
    let dims = [
        x.dims[0],
        out(x.dims[1], top, bottom, kh),
        out(x.dims[2], left, right, kw),
        w.last(),
    ];
    Array::build(&dims, |at| {
        let mut total = i.get(2).map_or(0.0, |b| b.data[at[3]]);
        for ky in 0..kh {
            for kx in 0..kw {
                let (iy, ix) = (at[1] * spec.stride + ky, at[2] * spec.stride + kx);
                if iy < top || ix < left || iy - top >= x.dims[1] || ix - left >= x.dims[2] {
                    continue;
                }
                let pixel = [at[0], iy - top, ix - left];
                if depthwise {
                    total += x.at(&[pixel[0], pixel[1], pixel[2], at[3]]) * w.at(&[ky, kx, at[3]]);
                } else {
                    for c in 0..x.dims[3] {
                        total +=
                            x.at(&[pixel[0], pixel[1], pixel[2], c]) * w.at(&[ky, kx, c, at[3]]);
                    }
                }
            }
        }
        total
    })
}

const SPECS: [(usize, usize, ConvSpec); 8] = [
    (
        3,
        3,
        ConvSpec {
            stride: 1,
            padding: [1, 1, 1, 1],
        },
    ),
    (
        3,
        3,
        ConvSpec {
            stride: 2,
            padding: [1, 1, 1, 1],
        },
    ),
    (
        3,
        3,
        ConvSpec {
            stride: 2,
            padding: [0, 1, 0, 1],
        },
    ),
    (
        3,
        3,
        ConvSpec {
            stride: 1,
            padding: [0, 2, 1, 0],
        },
    ),
    (
        1,
        1,
        ConvSpec {
            stride: 1,
            padding: [0, 0, 0, 0],
        },
    ),
    (
        1,
        1,
        ConvSpec {
            stride: 2,
            padding: [0, 0, 0, 0],
        },
    ),
    (
        5,
        2,
        ConvSpec {
            stride: 3,
            padding: [2, 1, 0, 2],
        },
    ),
    // More padding than the kernel reaches: the input gradient is not a plain convolution.
    (
        2,
        2,
        ConvSpec {
            stride: 1,
            padding: [2, 2, 3, 2],
        },
    ),
];

#[test]
fn conv2d_is_the_naive_convolution() {
    for (s, &(kh, kw, spec)) in SPECS.iter().enumerate() {
        for (n, [b, h, w, ci, co]) in [[2, 7, 9, 3, 5], [1, 8, 8, 17, 16], [3, 5, 6, 16, 19]]
            .into_iter()
            .enumerate()
        {
            let seed = (s * 10 + n) as u64;
            let x = Array::random(seed, &[b, h, w, ci]);
            let weight = Array::random(seed + 100, &[kh, kw, ci, co]);
            let bias = Array::random(seed + 200, &[co]);
            let name = format!("conv2d {kh}x{kw} {spec:?} {b}x{h}x{w} {ci}->{co}");
            check(
                &name,
                &[x.clone(), weight.clone(), bias],
                2e-6,
                |t| ops::conv2d(&t[0], &t[1], Some(&t[2]), spec),
                |a| naive(a, spec, false),
            );
            check(
                &name,
                &[x, weight],
                2e-6,
                |t| ops::conv2d(&t[0], &t[1], None, spec),
                |a| naive(a, spec, false),
            );
        }
    }
}

/// Sizes for which Winograd's algorithm is chosen (multiples of 16 channels), with whole and partial tiles. Its rounding errors are
/// larger than those of the direct sum.
#[test]
fn winograd_is_the_naive_convolution() {
    for (n, ([b, h, w, ci, co], padding)) in
        [([3, 8, 8, 16, 32], [1; 4]), ([2, 9, 14, 32, 16], [1; 4])]
            .into_iter()
            .enumerate()
    {
        let spec = ConvSpec { stride: 1, padding };
        let seed = n as u64;
        let inputs = [
            Array::random(seed, &[b, h, w, ci]),
            Array::random(seed + 100, &[3, 3, ci, co]),
            Array::random(seed + 200, &[co]),
        ];
        check(
            &format!("conv2d 3x3 {spec:?} {b}x{h}x{w} {ci}->{co}"),
            &inputs,
            8e-6,
            |t| ops::conv2d(&t[0], &t[1], Some(&t[2]), spec),
            |a| naive(a, spec, false),
        );
    }
}

#[test]
fn depthwise_conv2d_is_the_naive_convolution() {
    for (s, &(kh, kw, spec)) in SPECS.iter().enumerate() {
        for (n, [b, h, w, c]) in [[2, 7, 9, 5], [3, 6, 5, 33]].into_iter().enumerate() {
            let seed = (s * 10 + n) as u64;
            let x = Array::random(seed, &[b, h, w, c]);
            let weight = Array::random(seed + 100, &[kh, kw, c]);
            let bias = Array::random(seed + 200, &[c]);
            let name = format!("depthwise {kh}x{kw} {spec:?} {b}x{h}x{w}x{c}");
            check(
                &name,
                &[x.clone(), weight.clone(), bias],
                2e-6,
                |t| ops::depthwise_conv2d(&t[0], &t[1], Some(&t[2]), spec),
                |a| naive(a, spec, true),
            );
            check(
                &name,
                &[x, weight],
                2e-6,
                |t| ops::depthwise_conv2d(&t[0], &t[1], None, spec),
                |a| naive(a, spec, true),
            );
        }
    }
}

#[test]
fn linear_is_the_naive_product() {
    for (n, (lead, i, o)) in [(vec![3], 5, 7), (vec![2, 9], 17, 33), (vec![1, 2, 3], 1, 1)]
        .into_iter()
        .enumerate()
    {
        let mut dims = lead.clone();
        dims.push(i);
        let seed = n as u64;
        let inputs = [
            Array::random(seed, &dims),
            Array::random(seed + 10, &[o, i]),
            Array::random(seed + 20, &[o]),
        ];
        let naive = |a: &[Array]| {
            let mut dims = a[0].dims.clone();
            *dims.last_mut().unwrap() = o;
            let mut y = Array::zeros(&dims);
            for r in 0..a[0].rows() {
                for j in 0..o {
                    let dot: f64 = a[0]
                        .row(r)
                        .iter()
                        .zip(a[1].row(j))
                        .map(|(x, w)| x * w)
                        .sum();
                    y.data[r * o + j] = dot + a.get(2).map_or(0.0, |b| b.data[j]);
                }
            }
            y
        };
        check(
            "linear",
            &inputs,
            2e-6,
            |t| ops::linear(&t[0], &t[1], Some(&t[2])),
            naive,
        );
        check(
            "linear without bias",
            &inputs[..2],
            2e-6,
            |t| ops::linear(&t[0], &t[1], None),
            naive,
        );
    }
}

#[test]
fn arguments_that_are_not_contiguous_are_copied() {
    let x = Array::random(1, &[6, 4]);
    let w = Array::random(2, &[3, 6]);
    check(
        "linear of a transpose",
        &[x, w],
        2e-6,
        |t| ops::linear(&t[0].t()?, &t[1], None),
        |a| {
            Array::build(&[4, 3], |at| {
                (0..6)
                    .map(|k| a[0].at(&[k, at[0]]) * a[1].at(&[at[1], k]))
                    .sum()
            })
        },
    );
}

#[test]
fn wrong_shapes_are_errors_that_name_the_operation() {
    let t = |dims: &[usize]| Array::random(1, dims).tensor();
    let spec = ConvSpec::same(3);
    for (name, result) in [
        (
            "conv2d",
            ops::conv2d(&t(&[1, 4, 4, 3]), &t(&[3, 3, 4, 2]), None, spec),
        ),
        (
            "conv2d",
            ops::conv2d(&t(&[1, 4, 4, 3]), &t(&[3, 3, 3, 2]), Some(&t(&[3])), spec),
        ),
        (
            "conv2d",
            ops::conv2d(
                &t(&[1, 2, 2, 3]),
                &t(&[3, 3, 3, 2]),
                None,
                ConvSpec::new(1, 0),
            ),
        ),
        (
            "conv2d",
            ops::conv2d(
                &t(&[1, 4, 4, 3]),
                &t(&[3, 3, 3, 2]),
                None,
                ConvSpec::new(0, 1),
            ),
        ),
        (
            "conv2d",
            ops::conv2d(&t(&[4, 4, 3]), &t(&[3, 3, 3, 2]), None, spec),
        ),
        (
            "depthwise_conv2d",
            ops::depthwise_conv2d(&t(&[1, 4, 4, 3]), &t(&[3, 3, 2]), None, spec),
        ),
        ("linear", ops::linear(&t(&[2, 3]), &t(&[4, 2]), None)),
        (
            "linear",
            ops::linear(&t(&[2, 3]), &t(&[4, 3]), Some(&t(&[3]))),
        ),
    ] {
        let message = result.unwrap_err().to_string();
        assert!(message.starts_with(name), "{message}");
    }
    let half = t(&[2, 3]).to_dtype(candle_core::DType::F16).unwrap();
    assert!(
        ops::linear(&half, &t(&[4, 3]), None)
            .unwrap_err()
            .to_string()
            .contains("f32")
    );
}
