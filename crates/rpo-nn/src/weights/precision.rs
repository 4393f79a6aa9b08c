//! Floating-point types in files.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use safetensors::Dtype;

/// Bytes converted at a time: few enough to stay in the cache, a multiple of every type's width.
pub(super) const CHUNK: usize = 256 * 1024;

/// The type that tensors are written in; in memory everything is f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 32 bits, exact.
    #[default]
    F32,
    /// 16 bits, 11 of them mantissa; at most 65504.
    F16,
    /// 16 bits, 8 of them mantissa, with the range of f32.
    Bf16,
}

impl Precision {
    /// Bytes per value.
    pub fn width(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// `F32`, `F16` or `BF16`, as in headers.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
        }
    }

    /// Whether a finite value would become infinite.
    pub fn overflows(self, value: f32) -> bool {
        value.is_finite()
            && match self {
                Self::F32 => false,
                Self::F16 => value.abs() >= 65520.0,
                Self::Bf16 => bf16::from_f32(value).is_infinite(),
            }
    }

    /// The little-endian bytes of `values`, rounded to the nearest (ties to even).
    pub(super) fn encode(self, values: &[f32], out: &mut Vec<u8>) {
        out.clear();
        out.resize(values.len() * self.width(), 0);
        let halves = out.as_chunks_mut().0.iter_mut().zip(values);
        match self {
            Self::F32 => {
                for (bytes, value) in out.as_chunks_mut().0.iter_mut().zip(values) {
                    *bytes = value.to_le_bytes();
                }
            }
            Self::F16 => halves.for_each(|(b, &v)| *b = f16::from_f32(v).to_le_bytes()),
            Self::Bf16 => halves.for_each(|(b, &v)| *b = bf16::from_f32(v).to_le_bytes()),
        }
    }
}

/// Appends the values of little-endian bytes of a floating-point dtype.
pub(super) fn decode(dtype: Dtype, bytes: &[u8], out: &mut Vec<f32>) {
    match dtype {
        Dtype::F64 => {
            let chunks = bytes.as_chunks().0.iter();
            out.extend(chunks.map(|&b| f64::from_le_bytes(b) as f32));
        }
        Dtype::F16 => {
            let halves: Vec<f16> = bytes
                .as_chunks()
                .0
                .iter()
                .map(|&b| f16::from_le_bytes(b))
                .collect();
            let start = out.len();
            out.resize(start + halves.len(), 0.0);
            halves.convert_to_f32_slice(&mut out[start..]);
        }
        Dtype::BF16 => {
            let chunks = bytes.as_chunks().0.iter();
            out.extend(chunks.map(|&b| bf16::from_le_bytes(b).to_f32()));
        }
        _ => {
            let chunks = bytes.as_chunks().0.iter();
            out.extend(chunks.map(|&b| f32::from_le_bytes(b)));
        }
    }
}
