//! No bit depends on the number of threads. Sizes are such that every operation is split into several tasks.

use crate::oracle::{Array, check_threads};
use rpo_nn::ops::{self, Activation, ConvSpec, Mask};

fn arrays(dims: &[&[usize]]) -> Vec<Array> {
    dims.iter()
        .zip(1..)
        .map(|(d, seed)| Array::random(seed, d))
        .collect()
}

#[test]
fn products() {
    let linear = arrays(&[&[3, 333, 70], &[90, 70], &[90]]);
    check_threads("linear", &linear, |t| {
        ops::linear(&t[0], &t[1], Some(&t[2]))
    });
    for (kernel, spec) in [
        (3, ConvSpec::same(3)),
        (3, ConvSpec::new(2, 1)),
        (1, ConvSpec::new(1, 0)),
    ] {
        let conv = arrays(&[&[3, 16, 16, 32], &[kernel, kernel, 32, 48], &[48]]);
        check_threads("conv2d", &conv, |t| {
            ops::conv2d(&t[0], &t[1], Some(&t[2]), spec)
        });
    }
    let conv = arrays(&[&[3, 17, 15, 33], &[3, 3, 33], &[33]]);
    check_threads("depthwise", &conv, |t| {
        ops::depthwise_conv2d(&t[0], &t[1], Some(&t[2]), ConvSpec::same(3))
    });
}

#[test]
fn norms_and_attention() {
    let norm = arrays(&[&[3, 40, 30, 36], &[36], &[36]]);
    check_threads("group_norm", &norm, |t| {
        ops::group_norm(&t[0], &t[1], &t[2], 4, 1e-5, true)
    });
    check_threads("layer_norm", &norm, |t| {
        ops::layer_norm(&t[0], &t[1], &t[2], 1e-5)
    });
    let qkv = arrays(&[&[2, 300, 32], &[2, 600, 32], &[2, 600, 32]]);
    check_threads("attention", &qkv, |t| {
        ops::attention(&t[0], &t[1], &t[2], 2, &Mask::None)
    });
}

#[test]
fn the_rest() {
    let x = arrays(&[&[3, 40, 30, 36], &[3, 40, 30, 36]]);
    check_threads("add", &x, |t| ops::add(&t[0], &t[1]));
    check_threads("concat", &x, |t| ops::concat_channels(&t[0], &t[1]));
    check_threads("loss", &x, |t| ops::mean_squared_per_sample(&t[0], &t[1]));
    check_threads("silu", &x[..1], |t| {
        ops::activation(&t[0], Activation::Silu)
    });
    check_threads("geglu", &x[..1], |t| ops::geglu(&t[0]));
    check_threads("upsample", &x[..1], |t| {
        ops::upsample_nearest(&t[0], (80, 60))
    });
    let x = arrays(&[&[3, 40, 30, 36], &[3, 36]]);
    check_threads("add_channels", &x, |t| ops::add_channels(&t[0], &t[1]));
    check_threads("mul_channels", &x, |t| ops::mul_channels(&t[0], &t[1]));
}
