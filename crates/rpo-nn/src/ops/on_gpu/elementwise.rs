//! Sums, scales, activations, concatenation, upsampling and the like.

use super::when;
use crate::autograd::{Gradient, OnGpu};
use crate::gpu::{Arg, Buffer, Gpu, GpuView, positions, same_kind};
use crate::ops::Activation;
use crate::ops::detach::DetachFirst;
use crate::ops::dropout::Dropout;
use crate::ops::elementwise::{Add, AddChannels, Concat, MulChannels, Scale};
use crate::ops::geglu::Geglu;
use crate::ops::resize::Nearest;
use candle_core::Result;

impl OnGpu<2> for Add {
    fn gpu_forward(&self, gpu: &Gpu, [a, b]: [GpuView<'_>; 2]) -> Result<(Buffer, Vec<usize>)> {
        Ok((gpu.binary("add", a, b)?, a.dims.to_vec()))
    }

    fn gpu_backward(
        &self,
        _: &Gpu,
        _: [GpuView<'_>; 2],
        wanted: [bool; 2],
        _: GpuView<'_>,
        _: GpuView<'_>,
    ) -> Result<[Gradient<Buffer>; 2]> {
        Ok(wanted.map(Gradient::same_when))
    }
}

impl OnGpu<1> for Scale {
    fn gpu_forward(&self, gpu: &Gpu, [x]: [GpuView<'_>; 1]) -> Result<(Buffer, Vec<usize>)> {
        Ok((gpu.scaled(x, self.0)?, x.dims.to_vec()))
    }

    fn gpu_backward(
        &self,
        gpu: &Gpu,
        _: [GpuView<'_>; 1],
        [wanted]: [bool; 1],
        _: GpuView<'_>,
        grad: GpuView<'_>,
    ) -> Result<[Gradient<Buffer>; 1]> {
        Ok([when(wanted, || gpu.scaled(grad, self.0))?])
    }
}

impl OnGpu<2> for AddChannels {
    fn gpu_forward(&self, gpu: &Gpu, [x, t]: [GpuView<'_>; 2]) -> Result<(Buffer, Vec<usize>)> {
        Ok((gpu.by_channel("add_channels", x, t)?, x.dims.to_vec()))
    }

    fn gpu_backward(
        &self,
        gpu: &Gpu,
        [_, t]: [GpuView<'_>; 2],
        [want_x, want_t]: [bool; 2],
        _: GpuView<'_>,
        grad: GpuView<'_>,
    ) -> Result<[Gradient<Buffer>; 2]> {
        let dt = when(want_t, || positions(gpu, grad, t.kind))?;
        Ok([Gradient::same_when(want_x), dt])
    }
}

impl OnGpu<2> for MulChannels {
    fn gpu_forward(&self, gpu: &Gpu, [x, s]: [GpuView<'_>; 2]) -> Result<(Buffer, Vec<usize>)> {
        Ok((gpu.by_channel("mul_channels", x, s)?, x.dims.to_vec()))
    }

    fn gpu_backward(
        &self,
        gpu: &Gpu,
        [x, s]: [GpuView<'_>; 2],
        [want_x, want_s]: [bool; 2],
        _: GpuView<'_>,
        grad: GpuView<'_>,
    ) -> Result<[Gradient<Buffer>; 2]> {
        let dx = when(want_x, || gpu.by_channel("mul_channels", grad, s))?;
        let ds = when(want_s, || {
            let products = gpu.binary("mul", x, grad)?;
            positions(gpu, products.view(x.dims), s.kind)
        })?;
        Ok([dx, ds])
    }
}

/// Rows of `a` and `b` side by side.
fn concat(gpu: &Gpu, a: GpuView<'_>, b: GpuView<'_>) -> Result<Buffer> {
    gpu.map("concat", a.kind, a.len() + b.len(), |y| {
        vec![
            Arg::Ptr(a.ptr),
            Arg::Ptr(b.ptr),
            y,
            Arg::int(a.last()),
            Arg::int(b.last()),
            Arg::long(a.rows()),
        ]
    })
}

impl OnGpu<2> for Concat {
    fn gpu_forward(&self, gpu: &Gpu, [a, b]: [GpuView<'_>; 2]) -> Result<(Buffer, Vec<usize>)> {
        same_kind("concat_channels", &[a, b])?;
        let mut dims = a.dims.to_vec();
        if let Some(last) = dims.last_mut() {
            *last += b.last();
        }
        Ok((concat(gpu, a, b)?, dims))
    }

    fn gpu_backward(
        &self,
        gpu: &Gpu,
        [a, b]: [GpuView<'_>; 2],
        [want_a, want_b]: [bool; 2],
        _: GpuView<'_>,
        grad: GpuView<'_>,
    ) -> Result<[Gradient<Buffer>; 2]> {
        let (ca, cb) = (a.last(), b.last());
        Ok([
            when(want_a, || gpu.columns(grad, 0, ca, ca + cb))?,
            when(want_b, || gpu.columns(grad, ca, cb, ca + cb))?,
        ])
    }
}

impl OnGpu<1> for DetachFirst {
    fn gpu_forward(&self, gpu: &Gpu, [x]: [GpuView<'_>; 1]) -> Result<(Buffer, Vec<usize>)> {
        Ok((gpu.copy(x)?, x.dims.to_vec()))
    }

    fn gpu_backward(
        &self,
        gpu: &Gpu,
        [x]: [GpuView<'_>; 1],
        [wanted]: [bool; 1],
        _: GpuView<'_>,
        grad: GpuView<'_>,
    ) -> Result<[Gradient<Buffer>; 1]> {
        let [batch, tokens, token] = [x.dims[0], x.dims[1], x.dims[2]];
        let (sample, others) = (tokens * token, (tokens - 1) * token);
        Ok([when(wanted, || {
            let first = gpu.columns(grad, 0, token, sample)?;
            let zero = gpu.scaled(first.view(&[batch, token]), 0.0)?;
            if others == 0 {
                return Ok(zero);
            }
            let rest = gpu.columns(grad, token, others, sample)?;
            concat(gpu, zero.view(&[batch, token]), rest.view(&[batch, others]))
        })?])
    }
}

impl Activation {
    /// As in `elementwise.cu`.
    fn number(self) -> i32 {
        match self {
            Self::Silu => 0,
            Self::Gelu => 1,
            Self::GeluTanh => 2,
            Self::QuickGelu => 3,
            Self::Relu => 4,
            Self::Tanh => 5,
            Self::Sigmoid => 6,
        }
    }
}

impl OnGpu<1> for Activation {
    fn gpu_forward(&self, gpu: &Gpu, [x]: [GpuView<'_>; 1]) -> Result<(Buffer, Vec<usize>)> {
        let y = gpu.map("activation", x.kind, x.len(), |y| {
            let function = Arg::Int(self.number());
            vec![Arg::Ptr(x.ptr), y, function, Arg::long(x.len())]
        })?;
        Ok((y, x.dims.to_vec()))
    }

    fn gpu_backward(
        &self,
        gpu: &Gpu,
        [x]: [GpuView<'_>; 1],
        [wanted]: [bool; 1],
        _: GpuView<'_>,
        grad: GpuView<'_>,
    ) -> Result<[Gradient<Buffer>; 1]> {
        Ok([when(wanted, || {
            gpu.map("activation_backward", x.kind, x.len(), |dx| {
                let function = Arg::Int(self.number());
                vec![
                    Arg::Ptr(x.ptr),
                    Arg::Ptr(grad.ptr),
                    dx,
                    function,
                    Arg::long(x.len()),
                ]
            })
        })?])
    }
}

impl OnGpu<1> for Geglu {
    fn gpu_forward(&self, gpu: &Gpu, [x]: [GpuView<'_>; 1]) -> Result<(Buffer, Vec<usize>)> {
        let f = x.last() / 2;
        let mut dims = x.dims.to_vec();
        if let Some(last) = dims.last_mut() {
            *last = f;
        }
        let y = gpu.map("geglu", x.kind, x.len() / 2, |y| {
            vec![Arg::Ptr(x.ptr), y, Arg::int(f), Arg::long(x.rows())]
        })?;
        Ok((y, dims))
    }

    fn gpu_backward(
        &self,
        gpu: &Gpu,
        [x]: [GpuView<'_>; 1],
        [wanted]: [bool; 1],
        _: GpuView<'_>,
        grad: GpuView<'_>,
    ) -> Result<[Gradient<Buffer>; 1]> {
        Ok([when(wanted, || {
            gpu.map("geglu_backward", x.kind, x.len(), |dx| {
                vec![
                    Arg::Ptr(x.ptr),
                    Arg::Ptr(grad.ptr),
                    dx,
                    Arg::int(x.last() / 2),
                    Arg::long(x.rows()),
                ]
            })
        })?])
    }
}

impl Nearest {
    /// `name(from, to, h, w, height, width, c, n)` for an `x` `[B, h, w, C]`.
    fn on(
        &self,
        gpu: &Gpu,
        name: &str,
        from: GpuView<'_>,
        x: &[usize],
        len: usize,
    ) -> Result<Buffer> {
        gpu.map(name, from.kind, len, |to| {
            vec![
                Arg::Ptr(from.ptr),
                to,
                Arg::int(x[1]),
                Arg::int(x[2]),
                Arg::int(self.height),
                Arg::int(self.width),
                Arg::int(x[3]),
                Arg::long(len),
            ]
        })
    }
}

impl OnGpu<1> for Nearest {
    fn gpu_forward(&self, gpu: &Gpu, [x]: [GpuView<'_>; 1]) -> Result<(Buffer, Vec<usize>)> {
        let dims = vec![x.dims[0], self.height, self.width, x.dims[3]];
        let len = dims.iter().product();
        Ok((self.on(gpu, "upsample", x, x.dims, len)?, dims))
    }

    fn gpu_backward(
        &self,
        gpu: &Gpu,
        [x]: [GpuView<'_>; 1],
        [wanted]: [bool; 1],
        _: GpuView<'_>,
        grad: GpuView<'_>,
    ) -> Result<[Gradient<Buffer>; 1]> {
        Ok([when(wanted, || {
            self.on(gpu, "upsample_backward", grad, x.dims, x.len())
        })?])
    }
}

impl Dropout {
    fn on(&self, gpu: &Gpu, x: GpuView<'_>) -> Result<Buffer> {
        gpu.map("dropout", x.kind, x.len(), |y| {
            vec![
                Arg::Ptr(x.ptr),
                y,
                Arg::Long(self.seed as i64),
                Arg::Long(self.threshold as i64),
                Arg::Float(self.keep),
                Arg::long(x.len()),
            ]
        })
    }
}

impl OnGpu<1> for Dropout {
    fn gpu_forward(&self, gpu: &Gpu, [x]: [GpuView<'_>; 1]) -> Result<(Buffer, Vec<usize>)> {
        Ok((self.on(gpu, x)?, x.dims.to_vec()))
    }

    fn gpu_backward(
        &self,
        gpu: &Gpu,
        _: [GpuView<'_>; 1],
        [wanted]: [bool; 1],
        _: GpuView<'_>,
        grad: GpuView<'_>,
    ) -> Result<[Gradient<Buffer>; 1]> {
        Ok([when(wanted, || self.on(gpu, grad))?])
    }
}
