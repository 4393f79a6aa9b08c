//! Weights in the dtype of activations, kept until they change.

use super::buffer::{Buffer, GpuView, Kind};
use super::device::Gpu;
use crate::kept::Kept;
use candle_core::Result;
use std::sync::Arc;

/// Caches of a layer's weights in the dtype of its activations.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeptCasts {
    weight: Kept<Buffer>,
    bias: Kept<Buffer>,
}

impl KeptCasts {
    pub(crate) fn new(weight: Kept<Buffer>, bias: Kept<Buffer>) -> Self {
        Self { weight, bias }
    }

    pub(crate) fn weight<'a>(
        &self,
        gpu: &Gpu,
        w: GpuView<'a>,
        kind: Kind,
    ) -> Result<(GpuView<'a>, Option<Arc<Buffer>>)> {
        in_kind(gpu, w, kind, &self.weight)
    }

    pub(crate) fn bias<'a>(
        &self,
        gpu: &Gpu,
        b: GpuView<'a>,
        kind: Kind,
    ) -> Result<(GpuView<'a>, Option<Arc<Buffer>>)> {
        in_kind(gpu, b, kind, &self.bias)
    }
}

/// `x` in `kind`, and the owner of the view.
fn in_kind<'a>(
    gpu: &Gpu,
    x: GpuView<'a>,
    kind: Kind,
    kept: &Kept<Buffer>,
) -> Result<(GpuView<'a>, Option<Arc<Buffer>>)> {
    if x.kind == kind {
        return Ok((x, None));
    }
    let cast = kept.get_or(true, || gpu.cast(x, kind))?;
    Ok((cast.view(x.dims), Some(cast)))
}
