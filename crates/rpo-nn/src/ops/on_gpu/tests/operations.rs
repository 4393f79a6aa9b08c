//! Each operation by itself.

use super::compare::{Role, arg, compare, compare_forward, last_first, random, w, x};
use crate::ops::{self, Activation, ConvSpec, Mask};
use candle_core::{DType, Tensor};
use half::bf16;

#[test]
fn linear_layers() {
    for (rows, i, o) in [(5, 8, 16), (33, 40, 24), (1, 64, 3)] {
        let all = [x(&[2, rows, i]), w(&[o, i]), w(&[o])];
        compare("linear", &all, |t| ops::linear(&t[0], &t[1], Some(&t[2])));
        compare("linear", &all[..2], |t| ops::linear(&t[0], &t[1], None));
    }
}

#[test]
fn convolutions() {
    for (k, ci, co, spec) in [
        (3, 8, 16, ConvSpec::same(3)),
        (3, 4, 8, ConvSpec::new(2, 1)),
        (1, 8, 12, ConvSpec::same(1)),
        (3, 8, 4, ConvSpec::new(1, 0)),
    ] {
        let all = [
            x(&[2, 7, 6, ci]),
            arg(&[k, k, ci, co], Role::Kernel),
            w(&[co]),
        ];
        compare("conv2d", &all, |t| {
            ops::conv2d(&t[0], &t[1], Some(&t[2]), spec)
        });
        compare("conv2d", &all[..2], |t| {
            ops::conv2d(&t[0], &t[1], None, spec)
        });
    }
}

/// The VAE's encoder pads at the bottom and the right only.
#[test]
fn convolutions_padded_on_two_sides() {
    let spec = ConvSpec {
        stride: 2,
        padding: [0, 1, 0, 1],
    };
    compare_forward("conv2d", |place| {
        let x = place.tensor(
            random(2 * 8 * 6 * 4, 1),
            &[2, 8, 6, 4],
            place.dtype(),
            false,
        )?;
        let w = random(9 * 4 * 8, 2);
        let (w, dims) = match place.is_cpu() {
            true => (w, [3, 3, 4, 8]),
            false => (last_first(&w, 8), [8, 3, 3, 4]),
        };
        let w = place.tensor(w, &dims, DType::F32, false)?;
        ops::conv2d(&x, &w, None, spec)
    });
}

#[test]
fn normalisations() {
    for (c, groups) in [(64, 32), (40, 8), (12, 3), (320, 32)] {
        for silu in [false, true] {
            let all = [x(&[2, 5, 7, c]), w(&[c]), w(&[c])];
            compare("group_norm", &all, |t| {
                ops::group_norm(&t[0], &t[1], &t[2], groups, 1e-5, silu)
            });
        }
        let all = [x(&[3, 11, c]), w(&[c]), w(&[c])];
        compare("layer_norm", &all, |t| {
            ops::layer_norm(&t[0], &t[1], &t[2], 1e-5)
        });
    }
}

#[test]
fn attentions() {
    for (n, m, heads, d) in [
        (16, 16, 2, 8),
        (70, 77, 2, 16),
        (9, 9, 2, 12),
        (33, 33, 1, 40),
        (16, 5, 2, 64),
        (20, 20, 1, 160),
    ] {
        let c = heads * d;
        let all = [x(&[2, n, c]), x(&[2, m, c]), x(&[2, m, c])];
        compare("attention", &all, |t| {
            ops::attention(&t[0], &t[1], &t[2], heads, &Mask::None)
        });
        if n == m {
            compare("causal attention", &all, |t| {
                ops::attention(&t[0], &t[1], &t[2], heads, &Mask::Causal)
            });
        }
        let mut keep = vec![1f32; 2 * m];
        (keep[0], keep[m + m / 2]) = (0.0, 0.0);
        let keep = Tensor::from_vec(keep, (2, m), &candle_core::Device::Cpu).unwrap();
        compare("masked attention", &all, |t| {
            ops::attention(&t[0], &t[1], &t[2], heads, &Mask::Keys(keep.clone()))
        });
    }
}

/// The VAE's single head of 512 channels is processed in strips.
#[test]
fn attention_of_a_wide_head() {
    let dims = [2, 21, 192];
    compare_forward("attention", |place| {
        let [q, k, v] = [1, 2, 3].map(|seed| {
            let values = random(dims.iter().product(), seed);
            let rounded = values.into_iter().map(|v| bf16::from_f32(v).to_f32());
            place.tensor(rounded.collect(), &dims, place.dtype(), false)
        });
        ops::attention(&q?, &k?, &v?, 1, &Mask::None)
    });
}

#[test]
fn elementwise_operations() {
    let image = || x(&[2, 3, 5, 24]);
    compare("add", &[image(), image()], |t| ops::add(&t[0], &t[1]));
    compare("scale", &[image()], |t| ops::scale(&t[0], -1.5));
    let channels = [image(), x(&[2, 24])];
    compare("add_channels", &channels, |t| {
        ops::add_channels(&t[0], &t[1])
    });
    compare("mul_channels", &channels, |t| {
        ops::mul_channels(&t[0], &t[1])
    });
    compare("concat", &[image(), x(&[2, 3, 5, 7])], |t| {
        ops::concat_channels(&t[0], &t[1])
    });
    for tokens in [1, 5] {
        compare("detach_first", &[x(&[3, tokens, 16])], |t| {
            ops::detach_first(&t[0])
        });
    }
    compare("geglu", &[image()], |t| ops::geglu(&t[0]));
    compare("upsample", &[image()], |t| {
        ops::upsample_nearest(&t[0], (6, 13))
    });
    compare("dropout", &[image()], |t| ops::dropout(&t[0], 0.3, 7));
    for function in [
        Activation::Silu,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::QuickGelu,
        Activation::Relu,
        Activation::Tanh,
        Activation::Sigmoid,
    ] {
        compare(&format!("{function:?}"), &[image()], |t| {
            ops::activation(&t[0], function)
        });
    }
}

#[test]
fn depthwise_convolutions() {
    for (k, spec) in [(3, ConvSpec::same(3)), (5, ConvSpec::new(2, 2))] {
        compare_forward("depthwise_conv2d", |place| {
            let at = |dims: &[usize], seed, dtype| {
                place.tensor(random(dims.iter().product(), seed), dims, dtype, false)
            };
            let x = at(&[2, 9, 8, 24], 1, place.dtype())?;
            let (w, b) = (at(&[k, k, 24], 2, DType::F32)?, at(&[24], 3, DType::F32)?);
            ops::depthwise_conv2d(&x, &w, Some(&b), spec)
        });
    }
}
