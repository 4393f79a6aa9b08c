//! New values for a tensor in use by networks.

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, bail};

/// Replaces the values of a contiguous tensor in place; the new values are in its arrangement.
pub(super) struct Overwrite(pub(super) Vec<f32>);

impl InplaceOp1 for Overwrite {
    fn name(&self) -> &'static str {
        "overwrite"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        match (storage, layout.contiguous_offsets()) {
            (CpuStorage::F32(data), Some((from, to))) if to - from == self.0.len() => {
                data[from..to].copy_from_slice(&self.0);
                Ok(())
            }
            _ => bail!("overwrite: {} values into {layout:?}", self.0.len()),
        }
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &mut candle_core::CudaStorage, layout: &Layout) -> Result<()> {
        crate::gpu::upload_into(storage, layout, &self.0)
    }
}
