//! Convolutions: by cuDNN, or as products where they are 1x1.

use super::when;
use crate::autograd::{Gradient, OnGpu};
use crate::geometry::Geometry;
use crate::gpu::{Arg, Buffer, Gpu, GpuView, Kind, Launch, Matrix, Product, Task, sum_rows};
use crate::ops::conv::Conv;
use candle_core::Result;

impl Conv {
    fn on(
        &self,
        gpu: &Gpu,
        x: GpuView<'_>,
        w: GpuView<'_>,
        b: Option<GpuView<'_>>,
    ) -> Result<(Buffer, Vec<usize>)> {
        let (g, kind) = (&self.geometry, x.kind);
        let (w, _held) = self.kept.casts.weight(gpu, w, kind)?;
        let bias = b.map(|b| self.kept.casts.bias(gpu, b, kind)).transpose()?;
        let bias = bias.as_ref().map(|(b, _)| b.ptr);
        let dims = vec![g.batch, g.out_height, g.out_width, g.out_channels];
        if g.is_pointwise() {
            let y = gpu.product(Product {
                a: Matrix::new(x.ptr, g.positions(), g.channels),
                b: Matrix::new(w.ptr, g.out_channels, g.channels).t(),
                bias,
                kind,
                out: kind,
            })?;
            return Ok((y, dims));
        }
        let (x, g, _padded) = self.symmetric(gpu, x)?;
        let y = gpu.alloc(kind, dims.iter().product())?;
        gpu.convolve((&g, kind, Task::Forward), [x, w.ptr, y.ptr()], bias)?;
        Ok((y, dims))
    }

    /// cuDNN pads both sides equally: if ours differ, x is padded into a buffer.
    fn symmetric(&self, gpu: &Gpu, x: GpuView<'_>) -> Result<(u64, Geometry, Option<Buffer>)> {
        let g = self.geometry;
        let [top, bottom, left, right] = g.spec.padding;
        if top == bottom && left == right {
            return Ok((x.ptr, g, None));
        }
        let padded = g.padded();
        let n = padded.batch * padded.height * padded.width * padded.channels;
        let buffer = gpu.alloc(x.kind, n)?;
        let args = [
            Arg::Ptr(x.ptr),
            Arg::Ptr(buffer.ptr()),
            Arg::int(g.height),
            Arg::int(g.width),
            Arg::int(padded.height),
            Arg::int(padded.width),
            Arg::int(top),
            Arg::int(left),
            Arg::int(g.channels),
            Arg::long(n),
        ];
        gpu.launch_for("pad", x.kind, Launch::over(n), &args)?;
        Ok((buffer.ptr(), padded, Some(buffer)))
    }

    fn gpu_gradients(
        &self,
        gpu: &Gpu,
        x: GpuView<'_>,
        w: GpuView<'_>,
        grad: GpuView<'_>,
        wanted: [bool; 2],
    ) -> Result<[Gradient<Buffer>; 2]> {
        let (g, kind) = (&self.geometry, x.kind);
        let [top, bottom, left, right] = g.spec.padding;
        if (top, left) != (bottom, right) && wanted != [false; 2] {
            candle_core::bail!("conv2d: no gradient on CUDA where the paddings of two sides differ")
        }
        let dx = when(wanted[0], || {
            let (w, _held) = self.kept.casts.weight(gpu, w, kind)?;
            if g.is_pointwise() {
                return gpu.product(Product {
                    a: Matrix::new(grad.ptr, g.positions(), g.out_channels),
                    b: Matrix::new(w.ptr, g.out_channels, g.channels),
                    bias: None,
                    kind,
                    out: kind,
                });
            }
            let dx = gpu.alloc(kind, x.len())?;
            gpu.convolve((g, kind, Task::Input), [w.ptr, grad.ptr, dx.ptr()], None)?;
            Ok(dx)
        })?;
        let dw = when(wanted[1], || {
            if g.is_pointwise() {
                return gpu.product(Product {
                    a: Matrix::new(grad.ptr, g.positions(), g.out_channels).t(),
                    b: Matrix::new(x.ptr, g.positions(), g.channels),
                    bias: None,
                    kind,
                    out: Kind::F32,
                });
            }
            let dw = gpu.alloc(kind, w.len())?;
            gpu.convolve((g, kind, Task::Weight), [x.ptr, grad.ptr, dw.ptr()], None)?;
            match kind {
                Kind::F32 => Ok(dw),
                Kind::Bf16 => gpu.cast(dw.view(w.dims), Kind::F32),
            }
        })?;
        Ok([dx, dw])
    }
}

impl OnGpu<2> for Conv {
    fn gpu_forward(&self, gpu: &Gpu, [x, w]: [GpuView<'_>; 2]) -> Result<(Buffer, Vec<usize>)> {
        self.on(gpu, x, w, None)
    }

    fn gpu_backward(
        &self,
        gpu: &Gpu,
        [x, w]: [GpuView<'_>; 2],
        wanted: [bool; 2],
        _: GpuView<'_>,
        grad: GpuView<'_>,
    ) -> Result<[Gradient<Buffer>; 2]> {
        self.gpu_gradients(gpu, x, w, grad, wanted)
    }
}

impl OnGpu<3> for Conv {
    fn gpu_forward(&self, gpu: &Gpu, [x, w, b]: [GpuView<'_>; 3]) -> Result<(Buffer, Vec<usize>)> {
        self.on(gpu, x, w, Some(b))
    }

    fn gpu_backward(
        &self,
        gpu: &Gpu,
        [x, w, b]: [GpuView<'_>; 3],
        [wx, ww, wb]: [bool; 3],
        _: GpuView<'_>,
        grad: GpuView<'_>,
    ) -> Result<[Gradient<Buffer>; 3]> {
        let [dx, dw] = self.gpu_gradients(gpu, x, w, grad, [wx, ww])?;
        let db = when(wb, || {
            sum_rows(gpu, grad, [1, grad.rows(), b.len()], Kind::F32)
        })?;
        Ok([dx, dw, db])
    }
}
