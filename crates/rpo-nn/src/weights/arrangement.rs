//! Memory layout of tensors, in particular of convolution kernels.

use rayon::prelude::*;

/// Memory layout of a tensor, compared with its checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrangement {
    /// As stored.
    Stored,
    /// Stored `[co, ci, kh, kw]`, kept `[kh, kw, ci, co]`.
    Conv,
    /// Stored `[co, ci, kh, kw]`, kept `[co, kh, kw, ci]`: on a GPU.
    ConvLast,
    /// Stored `[c, 1, kh, kw]`, kept `[kh, kw, c]`.
    Depthwise,
}

impl Arrangement {
    /// The shape in memory of a tensor stored in `shape`.
    pub(super) fn shape(self, shape: &[usize]) -> Vec<usize> {
        match (self, shape) {
            (Self::Conv, &[co, ci, kh, kw]) => vec![kh, kw, ci, co],
            (Self::ConvLast, &[co, ci, kh, kw]) => vec![co, kh, kw, ci],
            (Self::Depthwise, &[c, _, kh, kw]) => vec![kh, kw, c],
            _ => shape.to_vec(),
        }
    }

    /// Stored values to those in memory. Only tensors of four dimensions have another arrangement.
    pub(super) fn arrange(self, values: Vec<f32>, stored: &[usize]) -> Vec<f32> {
        match (self, stored) {
            (Self::Stored, _) => values,
            (Self::ConvLast, &[_, b, c, d]) => turn_each(&values, b, c * d),
            (_, &[a, b, c, d]) => pixels_first(&values, [a, b, c * d]),
            _ => values,
        }
    }

    /// The inverse of [`Self::arrange`].
    pub(super) fn restore(self, values: Vec<f32>, stored: &[usize]) -> Vec<f32> {
        match (self, stored) {
            (Self::Stored, _) => values,
            (Self::ConvLast, &[_, b, c, d]) => turn_each(&values, c * d, b),
            (_, &[a, b, c, d]) => pixels_last(&values, [a, b, c * d]),
            _ => values,
        }
    }
}

/// The transposes of matrices `[rows, cols]`, one after the other.
fn turn_each(values: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    let matrices = values.chunks_exact((rows * cols).max(1));
    matrices
        .flat_map(|m| pixels_first(m, [rows, 1, cols]))
        .collect()
}

/// Side of the tiles in which tensors are turned: a tile's lines stay in the cache, while whole rows and columns would not.
const TILE: usize = 16;

/// `[co, ci, pixels]` to `[pixels, ci, co]`.
fn pixels_first(values: &[f32], [co, ci, pixels]: [usize; 3]) -> Vec<f32> {
    let mut out = vec![0f32; values.len()];
    if values.is_empty() {
        return out;
    }
    // Of every pixel's plane the same rows.
    let mut blocks: Vec<Vec<&mut [f32]>> = Vec::new();
    blocks.resize_with(ci.div_ceil(TILE), Vec::new);
    for plane in out.chunks_exact_mut(ci * co) {
        for (block, rows) in blocks.iter_mut().zip(plane.chunks_mut(TILE * co)) {
            block.push(rows);
        }
    }
    blocks
        .into_par_iter()
        .enumerate()
        .for_each(|(k, mut planes)| {
            for first in (0..co).step_by(TILE) {
                for (pixel, rows) in planes.iter_mut().enumerate() {
                    for (i, row) in rows.chunks_exact_mut(co).enumerate() {
                        let start = (k * TILE + i) * pixels + pixel;
                        for (o, out) in row.iter_mut().enumerate().skip(first).take(TILE) {
                            *out = values[o * ci * pixels + start];
                        }
                    }
                }
            }
        });
    out
}

/// `[pixels, ci, co]` to `[co, ci, pixels]`.
fn pixels_last(values: &[f32], [co, ci, pixels]: [usize; 3]) -> Vec<f32> {
    let mut out = vec![0f32; values.len()];
    let each = (ci * pixels).max(1);
    let blocks = out.par_chunks_mut(TILE * each).enumerate();
    blocks.for_each(|(k, rows)| {
        for first in (0..ci).step_by(TILE) {
            for (o, row) in rows.chunks_exact_mut(each).enumerate() {
                let inputs = row.chunks_exact_mut(pixels).enumerate();
                for (i, kernel) in inputs.skip(first).take(TILE) {
                    for (pixel, out) in kernel.iter_mut().enumerate() {
                        *out = values[(pixel * ci + i) * co + k * TILE + o];
                    }
                }
            }
        }
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_turned_and_turned_back() {
        for stored in [
            [1, 1, 1, 1],
            [3, 2, 3, 3],
            [16, 16, 1, 1],
            [17, 33, 3, 3],
            [40, 1, 5, 5],
            [0, 4, 3, 3],
        ] {
            let [a, b, c, d] = stored;
            let values: Vec<f32> = (0..stored.iter().product())
                .map(|v: usize| v as f32)
                .collect();
            let at = |o, i, pixel| ((o * b + i) * c * d + pixel) as f32;
            let of = |arrangement: Arrangement| {
                let kept = arrangement.arrange(values.clone(), &stored);
                assert_eq!(
                    arrangement.restore(kept.clone(), &stored),
                    values,
                    "{stored:?}"
                );
                kept
            };
            let (first, last) = (of(Arrangement::Conv), of(Arrangement::ConvLast));
            for (o, i, pixel) in
                (0..a).flat_map(|o| (0..b).flat_map(move |i| (0..c * d).map(move |p| (o, i, p))))
            {
                assert_eq!(first[(pixel * b + i) * a + o], at(o, i, pixel));
                assert_eq!(last[(o * c * d + pixel) * b + i], at(o, i, pixel));
            }
        }
    }
}
