//! The operations of the embedded U-Net, batch 8: channels 64 / 96 / 160 at 16x16 / 8x8 / 4x4, forward and backward.
//!
//! The backward times include candle's overhead: a tensor of zeros and a sum for every gradient.

use candle_core::{Device, Tensor, Var};
use criterion::{Criterion, criterion_group, criterion_main};
use rpo_nn::ops::{self, ConvSpec, Mask};
use std::hint::black_box;

const BATCH: usize = 8;
/// Side and channels of each level.
const LEVELS: [(usize, usize); 3] = [(16, 64), (8, 96), (4, 160)];

/// Pseudo-random numbers in [-1, 1].
fn numbers(dims: &[usize]) -> Tensor {
    let n = dims.iter().product::<usize>() as u32;
    let values: Vec<f32> = (0..n)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0)
        .collect();
    Tensor::from_vec(values, dims, &Device::Cpu).expect("as many values as the shape has")
}

/// Times `op` on frozen tensors, and the backward pass with all of them tracked.
fn both(
    c: &mut Criterion,
    name: &str,
    shapes: &[&[usize]],
    op: impl Fn(&[Tensor]) -> candle_core::Result<Tensor>,
) {
    let plain: Vec<Tensor> = shapes.iter().map(|s| numbers(s)).collect();
    let vars: Vec<Tensor> = plain
        .iter()
        .map(|t| Var::from_tensor(t).expect("f32").into_inner())
        .collect();
    c.bench_function(&format!("{name} forward"), |b| {
        b.iter(|| op(black_box(&plain)).expect("shapes fit"));
    });
    let y = op(&vars).expect("shapes fit");
    c.bench_function(&format!("{name} backward"), |b| {
        b.iter(|| black_box(&y).backward().expect("has a backward"));
    });
}

fn convolutions(c: &mut Criterion) {
    for (side, ch) in LEVELS {
        let shapes: [&[usize]; 3] = [&[BATCH, side, side, ch], &[3, 3, ch, ch], &[ch]];
        both(
            c,
            &format!("conv 3x3 {ch} at {side}x{side}"),
            &shapes,
            |t| ops::conv2d(&t[0], &t[1], Some(&t[2]), ConvSpec::same(3)),
        );
    }
    let shapes: [&[usize]; 2] = [&[BATCH, 16, 16, 128], &[1, 1, 128, 64]];
    both(c, "conv 1x1 128 to 64 at 16x16", &shapes, |t| {
        ops::conv2d(&t[0], &t[1], None, ConvSpec::same(1))
    });
}

/// Batch, queries, keys, heads and channels of a head: the embedded U-Net's levels with its own and the text's keys, then those of
/// Stable Diffusion 1.5.
const ATTENTIONS: [[usize; 5]; 13] = [
    [16, 256, 256, 8, 8],
    [16, 256, 16, 8, 8],
    [16, 64, 64, 8, 12],
    [16, 64, 16, 8, 12],
    [16, 16, 16, 8, 20],
    [16, 64, 64, 8, 8],
    [2, 4096, 4096, 8, 40],
    [2, 4096, 77, 8, 40],
    [2, 1024, 1024, 8, 80],
    [2, 1024, 77, 8, 80],
    [2, 256, 256, 8, 160],
    [2, 256, 77, 8, 160],
    [2, 1024, 1024, 10, 64],
];

fn attentions(c: &mut Criterion) {
    for [batch, queries, keys, heads, d] in ATTENTIONS {
        let (q, k) = ([batch, queries, heads * d], [batch, keys, heads * d]);
        both(
            c,
            &format!("attention {batch} x {queries} x {keys}, {heads} heads of {d}"),
            &[&q, &k, &k],
            |t| ops::attention(&t[0], &t[1], &t[2], heads, &Mask::None),
        );
    }
}

fn group_norms(c: &mut Criterion) {
    for (side, ch) in LEVELS {
        let shapes: [&[usize]; 3] = [&[BATCH, side, side, ch], &[ch], &[ch]];
        both(
            c,
            &format!("group norm + silu {ch} at {side}x{side}"),
            &shapes,
            |t| ops::group_norm(&t[0], &t[1], &t[2], 16, 1e-5, true),
        );
    }
}

criterion_group!(benches, convolutions, attentions, group_norms);
criterion_main!(benches);
