//! Results of a forward pass that are kept on the device for the backward pass.

use super::buffer::Buffer;
use super::kernels::Arg;
use candle_core::{Result, bail};
use std::sync::OnceLock;

/// Of a norm: mean and 1 / standard deviation.
#[derive(Default)]
pub(crate) struct Statistics(OnceLock<[Buffer; 2]>);

impl Statistics {
    pub(crate) fn keep(&self, mean: Buffer, rstd: Buffer) -> &[Buffer; 2] {
        self.0.get_or_init(|| [mean, rstd])
    }

    pub(crate) fn pointers(&self, name: &str) -> Result<[Arg; 2]> {
        match self.0.get() {
            Some([mean, rstd]) => Ok([Arg::Ptr(mean.ptr()), Arg::Ptr(rstd.ptr())]),
            None => bail!("{name}: backward without a forward"),
        }
    }
}

/// Of an attention: log2 of the sum of exponentials of every row.
#[derive(Default)]
pub(crate) struct Sums(pub(crate) OnceLock<Buffer>);
