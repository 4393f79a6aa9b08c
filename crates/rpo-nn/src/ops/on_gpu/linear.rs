//! y = x W^T + b.

use super::when;
use crate::autograd::{Gradient, OnGpu};
use crate::gpu::{Buffer, Gpu, GpuView, Kind, Matrix, Product, sum_rows};
use crate::ops::linear::Linear;
use candle_core::Result;

impl Linear {
    fn on(
        &self,
        gpu: &Gpu,
        x: GpuView<'_>,
        w: GpuView<'_>,
        b: Option<GpuView<'_>>,
    ) -> Result<(Buffer, Vec<usize>)> {
        let (o, i) = (w.dims[0], w.dims[1]);
        let (w, _held) = self.kept.casts.weight(gpu, w, x.kind)?;
        let bias = b
            .map(|b| self.kept.casts.bias(gpu, b, x.kind))
            .transpose()?;
        let y = gpu.product(Product {
            a: Matrix::new(x.ptr, x.rows(), i),
            b: Matrix::new(w.ptr, o, i).t(),
            bias: bias.as_ref().map(|(b, _)| b.ptr),
            kind: x.kind,
            out: x.kind,
        })?;
        let mut dims = x.dims.to_vec();
        if let Some(last) = dims.last_mut() {
            *last = o;
        }
        Ok((y, dims))
    }

    fn gradients(
        &self,
        gpu: &Gpu,
        x: GpuView<'_>,
        w: GpuView<'_>,
        grad: GpuView<'_>,
        wanted: [bool; 2],
    ) -> Result<[Gradient<Buffer>; 2]> {
        let (o, i) = (w.dims[0], w.dims[1]);
        let g = Matrix::new(grad.ptr, x.rows(), o);
        let dx = when(wanted[0], || {
            let (w, _held) = self.kept.casts.weight(gpu, w, x.kind)?;
            gpu.product(Product {
                a: g,
                b: Matrix::new(w.ptr, o, i),
                bias: None,
                kind: x.kind,
                out: x.kind,
            })
        })?;
        let dw = when(wanted[1], || {
            gpu.product(Product {
                a: g.t(),
                b: Matrix::new(x.ptr, x.rows(), i),
                bias: None,
                kind: x.kind,
                out: Kind::F32,
            })
        })?;
        Ok([dx, dw])
    }
}

impl OnGpu<2> for Linear {
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
        self.gradients(gpu, x, w, grad, wanted)
    }
}

impl OnGpu<3> for Linear {
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
        let [dx, dw] = self.gradients(gpu, x, w, grad, [wx, ww])?;
        let db = when(wb, || {
            sum_rows(gpu, grad, [1, grad.rows(), b.len()], Kind::F32)
        })?;
        Ok([dx, dw, db])
    }
}
