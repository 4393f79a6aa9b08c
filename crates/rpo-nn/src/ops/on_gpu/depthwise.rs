//! Depthwise convolution, forward; and the operations that stay on the CPU.

use crate::autograd::OnGpu;
use crate::gpu::{Arg, Buffer, Gpu, GpuView, Kind, Launch};
use crate::ops::depthwise::Depthwise;
use crate::ops::embedding::{Embedding, WithAdded};
use crate::ops::loss::MeanSquared;
use candle_core::{Result, bail};

impl Depthwise {
    fn on(
        &self,
        gpu: &Gpu,
        [x, w]: [GpuView<'_>; 2],
        bias: Option<GpuView<'_>>,
    ) -> Result<(Buffer, Vec<usize>)> {
        if w.kind != Kind::F32 || bias.is_some_and(|b| b.kind != Kind::F32) {
            bail!("depthwise_conv2d: kernels and biases are f32 on CUDA, not {w:?}, {bias:?}")
        }
        let &[batch, height, width, c] = x.dims else {
            bail!("depthwise_conv2d: x {:?} has not four dimensions", x.dims)
        };
        let [out_height, out_width] = self.output;
        let dims = vec![batch, out_height, out_width, c];
        let n = dims.iter().product();
        let y = gpu.alloc(x.kind, n)?;
        let [top, _, left, _] = self.spec.padding;
        let args = [
            Arg::Ptr(x.ptr),
            Arg::Ptr(w.ptr),
            Arg::Ptr(bias.map_or(0, |b| b.ptr)),
            Arg::Ptr(y.ptr()),
            Arg::int(height),
            Arg::int(width),
            Arg::int(c),
            Arg::int(out_height),
            Arg::int(out_width),
            Arg::int(w.dims[0]),
            Arg::int(w.dims[1]),
            Arg::int(self.spec.stride),
            Arg::int(top),
            Arg::int(left),
            Arg::long(n),
        ];
        gpu.launch_for("depthwise", x.kind, Launch::over(n), &args)?;
        Ok((y, dims))
    }
}

impl OnGpu<2> for Depthwise {
    fn gpu_forward(&self, gpu: &Gpu, [x, w]: [GpuView<'_>; 2]) -> Result<(Buffer, Vec<usize>)> {
        self.on(gpu, [x, w], None)
    }
}

impl OnGpu<3> for Depthwise {
    fn gpu_forward(&self, gpu: &Gpu, [x, w, b]: [GpuView<'_>; 3]) -> Result<(Buffer, Vec<usize>)> {
        self.on(gpu, [x, w], Some(b))
    }
}

// Texts are embedded and losses are computed on the CPU.
impl OnGpu<1> for Embedding {}
impl OnGpu<2> for WithAdded {}
impl OnGpu<2> for MeanSquared {}
