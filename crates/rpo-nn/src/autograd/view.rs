//! Values of tensors as slices.

use candle_core::{CpuStorage, Layout, Result, Storage, Tensor, bail};

/// A contiguous f32 argument.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) dims: &'a [usize],
}

impl View<'_> {
    /// The size of the last dimension.
    pub(crate) fn last(&self) -> usize {
        self.dims.last().copied().unwrap_or(1)
    }
}

/// A tensor in its storage.
pub(super) fn view<'a>(storage: &'a CpuStorage, layout: &'a Layout) -> Result<View<'a>> {
    let Some((from, to)) = layout.contiguous_offsets() else {
        bail!("a kernel met a tensor that is not contiguous: {layout:?}")
    };
    Ok(View {
        data: &storage.as_slice::<f32>()?[from..to],
        dims: layout.dims(),
    })
}

/// Calls `f` with the values of contiguous f32 CPU tensors.
pub(crate) fn with_views<const N: usize, T>(
    tensors: [&Tensor; N],
    f: impl FnOnce([View<'_>; N]) -> Result<T>,
) -> Result<T> {
    let guards = tensors.map(Tensor::storage_and_layout);
    let mut views = [View {
        data: &[],
        dims: &[],
    }; N];
    for (slot, (storage, layout)) in views.iter_mut().zip(&guards) {
        *slot = match &**storage {
            Storage::Cpu(storage) => view(storage, layout)?,
            _ => bail!("a kernel met a tensor that is not on the CPU"),
        };
    }
    f(views)
}
