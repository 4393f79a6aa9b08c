//! Group and layer normalisation.

use super::when;
use crate::autograd::{Gradient, OnGpu};
use crate::gpu::{Arg, Arrangement, BLOCK, Buffer, Gpu, GpuView, Kind, Launch, WAVE, sum_partials};
use crate::ops::group_norm::GroupNorm;
use crate::ops::layer_norm::LayerNorm;
use candle_core::{Result, bail};

fn f32_only(name: &str, views: &[GpuView<'_>]) -> Result<()> {
    match views.iter().find(|v| v.kind != Kind::F32) {
        Some(other) => bail!("{name}: gamma and beta are f32 on CUDA, not {other:?}"),
        None => Ok(()),
    }
}

/// Blocks per image, so that all images together have `most`, or no more than their rows need.
fn share_image(at: Arrangement, positions: usize, batch: usize, most: usize) -> usize {
    positions
        .div_ceil(at.lanes)
        .min(most.div_ceil(batch.max(1)))
        .max(1)
}

impl GroupNorm {
    /// Batch, positions and channels.
    fn sizes(x: GpuView<'_>) -> [usize; 3] {
        let (batch, c) = (x.dims[0], x.last());
        [batch, x.len() / (batch * c).max(1), c]
    }
}

impl OnGpu<3> for GroupNorm {
    fn gpu_forward(
        &self,
        gpu: &Gpu,
        [x, gamma, beta]: [GpuView<'_>; 3],
    ) -> Result<(Buffer, Vec<usize>)> {
        f32_only("group_norm", &[gamma, beta])?;
        let [batch, positions, c] = Self::sizes(x);
        let (groups, n) = (self.groups, x.len());
        let at = Arrangement::new(c, x.kind);
        let (per_block, blocks) = at.share(batch, positions);
        // Shift, mean, squared deviations and count of every group and block.
        let partial = gpu.alloc(Kind::F32, batch * groups * blocks * 4)?;
        let args = [
            Arg::Ptr(x.ptr),
            Arg::Ptr(partial.ptr()),
            Arg::int(positions),
            Arg::int(c),
            Arg::int(groups),
            Arg::int(per_block),
        ];
        let launch = Launch {
            shared: 8 * c.max(at.threads as usize * at.vector),
            ..at.launch([blocks, batch, 1])
        };
        gpu.launch_for("group_norm_moments", x.kind, launch, &args)?;
        let mean = gpu.alloc(Kind::F32, batch * groups)?;
        let rstd = gpu.alloc(Kind::F32, batch * groups)?;
        let [mean, rstd] = self.on_gpu.keep(mean, rstd);
        let args = [
            Arg::Ptr(partial.ptr()),
            Arg::Ptr(mean.ptr()),
            Arg::Ptr(rstd.ptr()),
            Arg::int(blocks),
            Arg::int(groups),
            Arg::Float(self.eps as f32),
        ];
        let launch = Launch {
            block: [32, 1, 1],
            ..Launch::blocks([groups, batch, 1])
        };
        gpu.launch("group_norm_statistics", launch, &args)?;
        let y = gpu.alloc(x.kind, n)?;
        let args = [
            Arg::Ptr(x.ptr),
            Arg::Ptr(mean.ptr()),
            Arg::Ptr(rstd.ptr()),
            Arg::Ptr(gamma.ptr),
            Arg::Ptr(beta.ptr),
            Arg::Ptr(y.ptr()),
            Arg::int(positions),
            Arg::int(c),
            Arg::int(groups),
            Arg::Int(i32::from(self.silu)),
            Arg::long(n),
        ];
        let grid = [share_image(at, positions, batch, WAVE), batch, 1];
        gpu.launch_for("group_norm_apply", x.kind, at.launch(grid), &args)?;
        Ok((y, x.dims.to_vec()))
    }

    fn gpu_backward(
        &self,
        gpu: &Gpu,
        [x, gamma, beta]: [GpuView<'_>; 3],
        [want_x, want_gamma, want_beta]: [bool; 3],
        _: GpuView<'_>,
        grad: GpuView<'_>,
    ) -> Result<[Gradient<Buffer>; 3]> {
        let [batch, positions, c] = Self::sizes(x);
        let (groups, n) = (self.groups, x.len());
        let [mean, rstd] = self.on_gpu.pointers("group_norm")?;
        let silu = Arg::Int(i32::from(self.silu));
        let common = [
            Arg::Ptr(x.ptr),
            Arg::Ptr(grad.ptr),
            mean,
            rstd,
            Arg::Ptr(gamma.ptr),
            Arg::Ptr(beta.ptr),
        ];
        let at = Arrangement::new(c, x.kind);
        let (per_block, blocks) = at.share(batch, positions);
        let partial = gpu.alloc(Kind::F32, batch * blocks * 2 * c)?;
        let mut args = common.to_vec();
        args.extend([
            Arg::Ptr(partial.ptr()),
            Arg::int(positions),
            Arg::int(c),
            Arg::int(groups),
            silu,
            Arg::int(per_block),
        ]);
        let launch = at.launch([blocks, batch, at.tiles]);
        gpu.launch_for("group_norm_backward_sums", x.kind, launch, &args)?;
        // [B, 2, C], the sums of d and of d x^ of every channel, and [B, 2, G], the means for dx.
        let sums = gpu.alloc(Kind::F32, batch * 2 * c)?;
        let means = gpu.alloc(Kind::F32, batch * 2 * groups)?;
        let args = [
            Arg::Ptr(partial.ptr()),
            Arg::Ptr(gamma.ptr),
            Arg::Ptr(sums.ptr()),
            Arg::Ptr(means.ptr()),
            Arg::int(blocks),
            Arg::int(c),
            Arg::int(groups),
            Arg::int(positions),
        ];
        let grid = Launch::blocks([groups, batch, 1]);
        gpu.launch("group_norm_backward_reduce", grid, &args)?;
        let dx = when(want_x, || {
            let dx = gpu.alloc(x.kind, n)?;
            let mut args = common.to_vec();
            args.extend([
                Arg::Ptr(means.ptr()),
                Arg::Ptr(dx.ptr()),
                Arg::int(positions),
                Arg::int(c),
                Arg::int(groups),
                silu,
                Arg::long(n),
            ]);
            let grid = [share_image(at, positions, batch, 3 * WAVE / 4), batch, 1];
            gpu.launch_for("group_norm_backward_input", x.kind, at.launch(grid), &args)?;
            Ok(dx)
        })?;
        if !want_gamma && !want_beta {
            return Ok([dx, Gradient::None, Gradient::None]);
        }
        let (dgamma, dbeta) = (gpu.alloc(Kind::F32, c)?, gpu.alloc(Kind::F32, c)?);
        let args = [
            Arg::Ptr(sums.ptr()),
            Arg::Ptr(dgamma.ptr()),
            Arg::Ptr(dbeta.ptr()),
            Arg::int(batch),
            Arg::int(c),
        ];
        let grid = Launch::blocks([c.div_ceil(BLOCK as usize), 1, 1]);
        gpu.launch("group_norm_backward_weights", grid, &args)?;
        Ok([
            dx,
            when(want_gamma, || Ok(dgamma))?,
            when(want_beta, || Ok(dbeta))?,
        ])
    }
}

/// Rows per block of the layer norm's kernels: one warp per row.
const ROWS: usize = BLOCK as usize / 32;

impl OnGpu<3> for LayerNorm {
    fn gpu_forward(
        &self,
        gpu: &Gpu,
        [x, gamma, beta]: [GpuView<'_>; 3],
    ) -> Result<(Buffer, Vec<usize>)> {
        f32_only("layer_norm", &[gamma, beta])?;
        let rows = x.rows();
        let y = gpu.alloc(x.kind, x.len())?;
        let (mean, rstd) = (gpu.alloc(Kind::F32, rows)?, gpu.alloc(Kind::F32, rows)?);
        let [mean, rstd] = self.on_gpu.keep(mean, rstd);
        let args = [
            Arg::Ptr(x.ptr),
            Arg::Ptr(gamma.ptr),
            Arg::Ptr(beta.ptr),
            Arg::Ptr(y.ptr()),
            Arg::Ptr(mean.ptr()),
            Arg::Ptr(rstd.ptr()),
            Arg::int(x.last()),
            Arg::long(rows),
            Arg::Float(self.eps),
        ];
        let grid = Launch::blocks([rows.div_ceil(ROWS), 1, 1]);
        gpu.launch_for("layer_norm", x.kind, grid, &args)?;
        Ok((y, x.dims.to_vec()))
    }

    fn gpu_backward(
        &self,
        gpu: &Gpu,
        [x, gamma, _]: [GpuView<'_>; 3],
        [want_x, want_gamma, want_beta]: [bool; 3],
        _: GpuView<'_>,
        grad: GpuView<'_>,
    ) -> Result<[Gradient<Buffer>; 3]> {
        let (rows, c) = (x.rows(), x.last());
        let [mean, rstd] = self.on_gpu.pointers("layer_norm")?;
        let dx = when(want_x, || {
            let dx = gpu.alloc(x.kind, x.len())?;
            let args = [
                Arg::Ptr(x.ptr),
                Arg::Ptr(grad.ptr),
                mean,
                rstd,
                Arg::Ptr(gamma.ptr),
                Arg::Ptr(dx.ptr()),
                Arg::int(c),
                Arg::long(rows),
            ];
            let grid = Launch::blocks([rows.div_ceil(ROWS), 1, 1]);
            gpu.launch_for("layer_norm_backward_input", x.kind, grid, &args)?;
            Ok(dx)
        })?;
        if !want_gamma && !want_beta {
            return Ok([dx, Gradient::None, Gradient::None]);
        }
        let at = Arrangement::new(c, x.kind);
        let (per_block, blocks) = at.share(1, rows);
        let partial = gpu.alloc(Kind::F32, blocks * 2 * c)?;
        let args = [
            Arg::Ptr(x.ptr),
            Arg::Ptr(grad.ptr),
            mean,
            rstd,
            Arg::Ptr(partial.ptr()),
            Arg::int(c),
            Arg::long(rows),
            Arg::int(per_block),
        ];
        let launch = at.launch([blocks, at.tiles, 1]);
        gpu.launch_for("layer_norm_backward_weights", x.kind, launch, &args)?;
        // [2, C]: the gradients of beta and of gamma.
        let both = sum_partials(gpu, &partial, [1, blocks, 2 * c], Kind::F32)?;
        let half = |i: usize| {
            let view = both.view(&[]);
            gpu.copy(GpuView {
                ptr: view.ptr + (i * c * size_of::<f32>()) as u64,
                kind: Kind::F32,
                dims: &[c],
            })
        };
        Ok([
            dx,
            when(want_gamma, || half(1))?,
            when(want_beta, || half(0))?,
        ])
    }
}
