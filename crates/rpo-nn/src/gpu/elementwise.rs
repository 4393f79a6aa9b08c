//! Passes over all elements: casts, sums, scales, columns.

use super::buffer::{Buffer, GpuView, Kind};
use super::device::Gpu;
use super::kernels::{Arg, Launch};
use candle_core::{Result, bail};

impl Gpu {
    /// `name(x, .., y, .., n)` for a result of `len` values.
    pub(crate) fn map(
        &self,
        name: &str,
        kind: Kind,
        len: usize,
        args: impl FnOnce(Arg) -> Vec<Arg>,
    ) -> Result<Buffer> {
        let y = self.alloc(kind, len)?;
        if len > 0 {
            let args = args(Arg::Ptr(y.ptr()));
            self.launch_for(name, kind, Launch::over(len), &args)?;
        }
        Ok(y)
    }

    /// x in another dtype.
    pub(crate) fn cast(&self, x: GpuView<'_>, kind: Kind) -> Result<Buffer> {
        let name = match (x.kind, kind) {
            (Kind::F32, Kind::Bf16) => "cast_f32_bf16",
            (Kind::Bf16, Kind::F32) => "cast_bf16_f32",
            _ => return self.copy(x),
        };
        let n = x.len();
        let y = self.alloc(kind, n)?;
        if n > 0 {
            let args = [Arg::Ptr(x.ptr), Arg::Ptr(y.ptr()), Arg::long(n)];
            self.launch(name, Launch::over(n), &args)?;
        }
        Ok(y)
    }

    /// y += x.
    pub(crate) fn accumulate(&self, y: GpuView<'_>, x: GpuView<'_>) -> Result<()> {
        if y.kind != x.kind || y.len() != x.len() {
            bail!("gradients {y:?} and {x:?} of one tensor")
        }
        let args = [Arg::Ptr(y.ptr), Arg::Ptr(x.ptr), Arg::long(x.len())];
        self.launch_for("accumulate", x.kind, Launch::over(x.len()), &args)
    }

    /// `name(a, b, y, n)`.
    pub(crate) fn binary(&self, name: &str, a: GpuView<'_>, b: GpuView<'_>) -> Result<Buffer> {
        same_kind(name, &[a, b])?;
        self.map(name, a.kind, a.len(), |y| {
            vec![Arg::Ptr(a.ptr), Arg::Ptr(b.ptr), y, Arg::long(a.len())]
        })
    }

    /// `name(x, t, y, image, c, n)` for `x` `[B, .., C]` and `t` `[B, C]`.
    pub(crate) fn by_channel(&self, name: &str, x: GpuView<'_>, t: GpuView<'_>) -> Result<Buffer> {
        same_kind(name, &[x, t])?;
        let n = x.len();
        let image = n / x.dims[0].max(1);
        self.map(name, x.kind, n, |y| {
            vec![
                Arg::Ptr(x.ptr),
                Arg::Ptr(t.ptr),
                y,
                Arg::long(image),
                Arg::int(x.last()),
                Arg::long(n),
            ]
        })
    }

    /// s x.
    pub(crate) fn scaled(&self, x: GpuView<'_>, s: f32) -> Result<Buffer> {
        self.map("scale", x.kind, x.len(), |y| {
            vec![Arg::Ptr(x.ptr), y, Arg::Float(s), Arg::long(x.len())]
        })
    }

    /// Columns `from .. from + c` of `x` `[rows, total]`.
    pub(crate) fn columns(
        &self,
        x: GpuView<'_>,
        from: usize,
        c: usize,
        total: usize,
    ) -> Result<Buffer> {
        let rows = x.len() / total.max(1);
        self.map("split", x.kind, rows * c, |y| {
            vec![
                Arg::Ptr(x.ptr),
                y,
                Arg::int(from),
                Arg::int(c),
                Arg::int(total),
                Arg::long(rows),
            ]
        })
    }
}

/// An error if the dtypes of some differ.
pub(crate) fn same_kind(name: &str, views: &[GpuView<'_>]) -> Result<()> {
    match views.iter().find(|v| v.kind != views[0].kind) {
        Some(other) => bail!("{name}: {:?} and {other:?} differ in dtype", views[0]),
        None => Ok(()),
    }
}
