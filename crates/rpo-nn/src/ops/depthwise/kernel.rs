//! The forward pass: tiles of outputs in registers, over channels gathered sixteen at a time.
//!
//! A task computes some output rows of one image. For every group of sixteen channels it copies the input rows that they need
//! into a buffer that stays in the second-level cache, padded with zeros, one cache line per position; then every output is a
//! loop over taps without border checks.

use crate::geometry::ConvSpec;
use crate::math::{self, fma};
use crate::scratch;
use crate::simd::simd;

/// Channels computed together: one AVX-512 register, two of AVX2.
const LANES: usize = 16;
/// Outputs of one row computed together: enough to hide the latency of a multiply-add, few enough for 16 registers.
const TILE: usize = 5;
/// Output rows of a task: the rows shared with the next task are gathered twice.
const BAND: usize = 8;

type Lane = [f32; LANES];

/// Sixteen channels of one tap, in one cache line.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Tap(Lane);

/// The first sixteen of `values`, padded with zeros.
fn lane_of(values: &[f32]) -> Lane {
    let mut lane = [0f32; LANES];
    for (to, from) in lane.iter_mut().zip(values) {
        *to = *from;
    }
    lane
}

/// Kernels in the order in which they are used: for every group of channels, for every tap, its lanes.
#[derive(Clone, Debug)]
pub(crate) struct Packed {
    taps: Vec<Tap>,
    bias: Vec<Lane>,
    kernel: [usize; 2],
    pub(crate) channels: usize,
}

impl Packed {
    /// `w` is `[kh, kw, c]`, `b` `[c]`; lanes past the last channel are zero.
    pub(crate) fn new(w: &[f32], b: Option<&[f32]>, kernel: [usize; 2], channels: usize) -> Self {
        let area = kernel[0] * kernel[1];
        let groups = channels.div_ceil(LANES);
        Self {
            taps: (0..groups * area)
                .map(|i| {
                    Tap(lane_of(
                        &w[i % area * channels..][i / area * LANES..channels],
                    ))
                })
                .collect(),
            bias: (0..groups)
                .map(|group| b.map_or([0.0; LANES], |b| lane_of(&b[group * LANES..])))
                .collect(),
            kernel,
            channels,
        }
    }
}

/// The sizes of one convolution of packed kernels.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) spec: ConvSpec,
    /// Height and width.
    pub(crate) input: [usize; 2],
    /// Height and width.
    pub(crate) output: [usize; 2],
}

impl Sizes {
    /// Output rows of a task: equal parts of about [`BAND`] rows.
    pub(crate) fn band(&self) -> usize {
        let height = self.output[0];
        height.div_ceil((height / BAND).max(1)).max(1)
    }
}

/// Writes the output rows from `first` on of one image `x` into `y`, as many as it holds; with `silu` after x sigmoid(x).
pub(crate) fn rows(
    packed: &Packed,
    sizes: &Sizes,
    x: &[f32],
    first: usize,
    y: &mut [f32],
    silu: bool,
) {
    let (c, stride) = (packed.channels, sizes.spec.stride);
    let count = y.len() / (sizes.output[1] * c).max(1);
    if count == 0 {
        return;
    }
    let plane = Plane {
        rows: (count - 1) * stride + packed.kernel[0],
        columns: (sizes.output[1] - 1) * stride + packed.kernel[1],
    };
    scratch::with((plane.area() + 1) * LANES, |buffer| {
        // Sixteen values across two cache lines cost two loads.
        let skip = buffer.as_ptr().align_offset(64).min(LANES);
        let lanes = &mut buffer[skip..].as_chunks_mut::<LANES>().0[..plane.area()];
        for group in 0..c.div_ceil(LANES) {
            gather(packed, sizes, plane, x, first, group, lanes);
            convolve(packed, sizes, plane, group, lanes, y, silu);
        }
    });
}

/// The input that a band of output rows reads, border included.
#[derive(Clone, Copy)]
struct Plane {
    rows: usize,
    columns: usize,
}

impl Plane {
    fn area(self) -> usize {
        self.rows * self.columns
    }
}

/// Copies one group of channels of the input rows that output row `first` and its successors read.
#[inline(always)]
fn gather_body<const FMA: bool>(
    packed: &Packed,
    sizes: &Sizes,
    plane: Plane,
    x: &[f32],
    first: usize,
    group: usize,
    lanes: &mut [Lane],
) {
    let c = packed.channels;
    let [height, width] = sizes.input;
    let [top, _, left, _] = sizes.spec.padding;
    let inner = left.min(plane.columns)..(left + width).min(plane.columns);
    for (row, line) in lanes.chunks_exact_mut(plane.columns).enumerate() {
        let source = (first * sizes.spec.stride + row)
            .checked_sub(top)
            .filter(|&i| i < height);
        let Some(source) = source else {
            line.fill([0.0; LANES]);
            continue;
        };
        line[..inner.start].fill([0.0; LANES]);
        line[inner.end..].fill([0.0; LANES]);
        let pixels = x[source * width * c..][..width * c].chunks_exact(c);
        for (lane, pixel) in line[inner.clone()].iter_mut().zip(pixels) {
            let values = &pixel[group * LANES..];
            *lane = match values.first_chunk() {
                Some(values) => *values,
                None => lane_of(values),
            };
        }
    }
}

#[inline(always)]
fn convolve_body<const FMA: bool>(
    packed: &Packed,
    sizes: &Sizes,
    plane: Plane,
    group: usize,
    lanes: &[Lane],
    y: &mut [f32],
    silu: bool,
) {
    let area = packed.kernel[0] * packed.kernel[1];
    let taps = &packed.taps[group * area..][..area];
    let bias = packed.bias[group];
    let (c, width, stride) = (packed.channels, sizes.output[1], sizes.spec.stride);
    let from = group * LANES;
    let lines = plane.columns * stride;
    for (row, y) in y.chunks_exact_mut(width * c).enumerate() {
        let lanes = &lanes[row * lines..];
        for first in (0..width).step_by(TILE) {
            let n = TILE.min(width - first);
            let lanes = &lanes[first * stride..];
            let args = (taps, packed.kernel, plane.columns);
            let mut tile = [bias; TILE];
            match (n, stride) {
                (5, 1) => sum::<FMA, 5, 1>(args, lanes, &mut tile),
                (5, 2) => sum::<FMA, 5, 2>(args, lanes, &mut tile),
                (4, 1) => sum::<FMA, 4, 1>(args, lanes, &mut tile),
                (4, 2) => sum::<FMA, 4, 2>(args, lanes, &mut tile),
                (3, 1) => sum::<FMA, 3, 1>(args, lanes, &mut tile),
                (3, 2) => sum::<FMA, 3, 2>(args, lanes, &mut tile),
                (2, 1) => sum::<FMA, 2, 1>(args, lanes, &mut tile),
                (2, 2) => sum::<FMA, 2, 2>(args, lanes, &mut tile),
                _ => {
                    for (i, lane) in tile[..n].iter_mut().enumerate() {
                        let mut one = [*lane; TILE];
                        sum::<FMA, 1, 1>(args, &lanes[i * stride..], &mut one);
                        *lane = one[0];
                    }
                }
            }
            if silu {
                for lane in &mut tile[..n] {
                    for v in lane {
                        *v *= math::sigmoid::<FMA>(*v);
                    }
                }
            }
            for (lane, y) in tile[..n].iter().zip(y[first * c..].chunks_exact_mut(c)) {
                let y = &mut y[from..];
                match y.first_chunk_mut::<LANES>() {
                    Some(y) => *y = *lane,
                    None => y.copy_from_slice(&lane[..y.len()]),
                }
            }
        }
    }
}

/// Adds the taps of `N` outputs that lie `S` columns apart to the first `N` lanes of `tile`.
#[inline(always)]
fn sum<const FMA: bool, const N: usize, const S: usize>(
    (taps, [kh, kw], columns): (&[Tap], [usize; 2], usize),
    lanes: &[Lane],
    tile: &mut [Lane; TILE],
) {
    let mut sums: [Lane; N] = std::array::from_fn(|i| tile[i]);
    for ky in 0..kh {
        let line = &lanes[ky * columns..];
        for (kx, Tap(w)) in taps[ky * kw..][..kw].iter().enumerate() {
            let line = &line[kx..][..(N - 1) * S + 1];
            for (i, sum) in sums.iter_mut().enumerate() {
                let x = &line[i * S];
                for l in 0..LANES {
                    sum[l] = fma::<FMA>(x[l], w[l], sum[l]);
                }
            }
        }
    }
    tile[..N].copy_from_slice(&sums);
}

simd! {
    fn gather(
        packed: &Packed,
        sizes: &Sizes,
        plane: Plane,
        x: &[f32],
        first: usize,
        group: usize,
        lanes: &mut [Lane],
    ) = gather_body;

    fn convolve(
        packed: &Packed,
        sizes: &Sizes,
        plane: Plane,
        group: usize,
        lanes: &[Lane],
        y: &mut [f32],
        silu: bool,
    ) = convolve_body;
}
