//! Sizes of convolutions: plain data for both the CPU kernels and the GPU launches.

use candle_core::{Result, bail};

/// Stride and zero padding of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvSpec {
    /// Step between outputs, in both directions; at least 1.
    pub stride: usize,
    /// Rows or columns of zeros at the top, bottom, left, right.
    pub padding: [usize; 4],
}

impl ConvSpec {
    /// Stride 1 and padding (k - 1) / 2 on all sides: for odd `k` the result is as large as the input.
    pub fn same(k: usize) -> Self {
        Self::new(1, k.saturating_sub(1) / 2)
    }

    /// The same padding on all sides.
    pub fn new(stride: usize, padding: usize) -> Self {
        Self {
            stride,
            padding: [padding; 4],
        }
    }

    /// Height and width of the result; an error if the kernel does not fit into the padded input.
    pub(crate) fn output(
        &self,
        name: &str,
        input: [usize; 2],
        kernel: [usize; 2],
    ) -> Result<[usize; 2]> {
        let [top, bottom, left, right] = self.padding;
        let padded = [input[0] + top + bottom, input[1] + left + right];
        if self.stride == 0 {
            bail!("{name}: stride 0")
        }
        if kernel.contains(&0) || kernel[0] > padded[0] || kernel[1] > padded[1] {
            bail!("{name}: a kernel {kernel:?} does not fit into an input {input:?} with {self:?}")
        }
        Ok([
            (padded[0] - kernel[0]) / self.stride + 1,
            (padded[1] - kernel[1]) / self.stride + 1,
        ])
    }
}

/// All sizes of one convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Geometry {
    pub(crate) batch: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) channels: usize,
    pub(crate) out_height: usize,
    pub(crate) out_width: usize,
    pub(crate) out_channels: usize,
    pub(crate) kernel: [usize; 2],
    pub(crate) spec: ConvSpec,
}

impl Geometry {
    /// Output positions of the whole batch.
    pub(crate) fn positions(&self) -> usize {
        self.batch * self.out_height * self.out_width
    }

    /// Inputs of one output: kernel area times input channels.
    pub(crate) fn patch(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.channels
    }

    /// The geometry of the convolution that computes the input gradient, if any.
    pub(crate) fn transposed(&self) -> Option<Geometry> {
        let [kh, kw] = self.kernel;
        let [top, bottom, left, right] = self.spec.padding;
        let inside = top < kh && bottom < kh && left < kw && right < kw;
        (self.spec.stride == 1 && inside).then(|| Geometry {
            batch: self.batch,
            height: self.out_height,
            width: self.out_width,
            channels: self.out_channels,
            out_height: self.height,
            out_width: self.width,
            out_channels: self.channels,
            kernel: self.kernel,
            spec: ConvSpec {
                stride: 1,
                padding: [kh - 1 - top, kh - 1 - bottom, kw - 1 - left, kw - 1 - right],
            },
        })
    }

    /// Whether every output reads only the input at the same position.
    pub(crate) fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.spec == ConvSpec::new(1, 0)
    }

    /// The geometry on an already padded input.
    #[cfg(feature = "cuda")]
    pub(crate) fn padded(&self) -> Geometry {
        let [top, bottom, left, right] = self.spec.padding;
        Geometry {
            height: self.height + top + bottom,
            width: self.width + left + right,
            spec: ConvSpec::new(self.spec.stride, 0),
            ..*self
        }
    }
}
