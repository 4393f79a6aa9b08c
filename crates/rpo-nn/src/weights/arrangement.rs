//! Memory layout of tensors, in particular of convolution kernels.

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
            (_, &[a, b, c, d]) => transpose(&values, a * b, c * d, |r| r % b * a + r / b),
            _ => values,
        }
    }

    /// The inverse of [`Self::arrange`].
    pub(super) fn restore(self, values: Vec<f32>, stored: &[usize]) -> Vec<f32> {
        match (self, stored) {
            (Self::Stored, _) => values,
            (Self::ConvLast, &[_, b, c, d]) => turn_each(&values, c * d, b),
            (_, &[a, b, c, d]) => {
                let mut out = vec![0f32; values.len()];
                for (i, &v) in values.iter().enumerate() {
                    let (pixel, r) = (i / (a * b), i % (a * b));
                    out[(r % a * b + r / a) * c * d + pixel] = v;
                }
                out
            }
            _ => values,
        }
    }
}

/// The transposes of matrices `[rows, cols]`, one after the other.
fn turn_each(values: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    let matrices = values.chunks_exact((rows * cols).max(1));
    matrices
        .flat_map(|m| transpose(m, rows, cols, |i| i))
        .collect()
}

/// out[j, place(i)] = values[i, j].
fn transpose(values: &[f32], rows: usize, cols: usize, place: impl Fn(usize) -> usize) -> Vec<f32> {
    let mut out = vec![0f32; values.len()];
    for i in 0..rows {
        for j in 0..cols {
            out[j * rows + place(i)] = values[i * cols + j];
        }
    }
    out
}
