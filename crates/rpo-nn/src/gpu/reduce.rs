//! Sums over rows.

use super::buffer::{Buffer, GpuView, Kind};
use super::device::Gpu;
use super::kernels::{Arg, Launch};
use candle_core::Result;

/// Blocks that fill a large GPU (132 multiprocessors, four each).
pub(crate) const WAVE: usize = 528;

/// How a block's threads are arranged on rows of `c` channels: `Arrangement` in `prelude.cuh`.
#[derive(Clone, Copy)]
pub(crate) struct Arrangement {
    pub(crate) threads: u32,
    /// Rows that a block reads at once.
    pub(crate) lanes: usize,
    /// Number of blocks per row.
    pub(crate) tiles: usize,
    /// Values of one load.
    pub(crate) vector: usize,
}

impl Arrangement {
    pub(crate) fn new(c: usize, kind: Kind) -> Self {
        const MOST: usize = 256;
        let vector = 16 / kind.bytes();
        let vectors = if c.is_multiple_of(vector) {
            c / vector
        } else {
            c
        }
        .max(1);
        let tiles = vectors.div_ceil(MOST);
        let columns = vectors.div_ceil(tiles);
        let lanes = MOST / columns;
        Self {
            threads: (columns * lanes).next_multiple_of(32) as u32,
            lanes,
            tiles,
            vector,
        }
    }

    pub(crate) fn launch(self, grid: [usize; 3]) -> Launch {
        Launch {
            block: [self.threads, 1, 1],
            ..Launch::blocks(grid)
        }
    }

    /// Rows per block, of `rows` rows in each of `batch` images, and blocks per image.
    pub(crate) fn share(self, batch: usize, rows: usize) -> (usize, usize) {
        let least = (4 * self.lanes).min(256);
        let per_block = (batch * rows).div_ceil(WAVE).clamp(least, 256);
        (per_block, rows.div_ceil(per_block).max(1))
    }
}

/// Sums over the rows of every image of `x` `[batch, rows, cols]`: `[batch, cols]` in `kind`.
pub(crate) fn sum_rows(
    gpu: &Gpu,
    x: GpuView<'_>,
    [batch, rows, cols]: [usize; 3],
    kind: Kind,
) -> Result<Buffer> {
    let at = Arrangement::new(cols, x.kind);
    let (per_block, blocks) = at.share(batch, rows);
    let partial = gpu.alloc(Kind::F32, batch * blocks * cols)?;
    let args = [
        Arg::Ptr(x.ptr),
        Arg::Ptr(partial.ptr()),
        Arg::long(rows),
        Arg::int(cols),
        Arg::int(per_block),
    ];
    gpu.launch_for(
        "sum_rows",
        x.kind,
        at.launch([blocks, batch, at.tiles]),
        &args,
    )?;
    sum_partials(gpu, &partial, [batch, blocks, cols], kind)
}

/// Sums over `blocks` of `[batch, blocks, cols]`.
pub(crate) fn sum_partials(
    gpu: &Gpu,
    partial: &Buffer,
    [batch, blocks, cols]: [usize; 3],
    kind: Kind,
) -> Result<Buffer> {
    let out = gpu.alloc(kind, batch * cols)?;
    let name = match kind {
        Kind::F32 => "sum_partials",
        Kind::Bf16 => "sum_partials_bf16",
    };
    let args = [
        Arg::Ptr(partial.ptr()),
        Arg::Ptr(out.ptr()),
        Arg::int(blocks),
        Arg::int(cols),
    ];
    let grid = [cols.div_ceil(32), batch, 1];
    gpu.launch(name, Launch::blocks(grid), &args)?;
    Ok(out)
}

/// Sums over the positions of every image of `x` `[B, .., C]`: `[B, C]`.
pub(crate) fn positions(gpu: &Gpu, x: GpuView<'_>, kind: Kind) -> Result<Buffer> {
    let (batch, c) = (x.dims[0], x.last());
    let rows = x.len() / (batch * c).max(1);
    sum_rows(gpu, x, [batch, rows, c], kind)
}

impl Gpu {
    /// The sums of [`positions`] times `scale`, in f32.
    pub(crate) fn means(&self, x: GpuView<'_>, scale: f32) -> Result<Buffer> {
        let sums = positions(self, x, Kind::F32)?;
        self.scaled(sums.view(&[x.dims[0] * x.last()]), scale)
    }
}
