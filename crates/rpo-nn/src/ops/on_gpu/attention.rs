//! Attention without storing the matrix of weights; very wide heads are processed in strips of it.

use super::when;
use crate::autograd::{Gradient, OnGpu};
use crate::gpu::{Arg, Buffer, Gpu, GpuView, Kind, Launch, Matrix, Product, same_kind};
use crate::ops::attention::{Attention, Visible};
use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DevicePtr};
use candle_core::{Result, bail};

/// The passes, as columns of the tables.
const FORWARD: usize = 0;
const BACKWARD_Q: usize = 1;
const BACKWARD_KV: usize = 2;

/// Launch parameters of the kernels for heads of up to `width` channels, documented beside the kernels.
struct Variant {
    width: usize,
    threads: u32,
    /// Rows of a block: queries, queries, keys.
    rows: [usize; 3],
    /// Bytes of dynamic shared memory.
    shared: [usize; 3],
}

/// `attention_forward.cu`, `attention_backward.cu`: bytes of a row, rows of a block and of a tile in the backward kernels.
const fn bf16(width: usize, bytes: usize, rows: [usize; 3], tiles: [usize; 2]) -> Variant {
    Variant {
        width,
        threads: 128,
        rows,
        shared: [
            256 * bytes,
            (2 * rows[1] + 4 * tiles[0]) * bytes,
            (2 * rows[2] + 4 * tiles[1]) * bytes + 16 * tiles[1],
        ],
    }
}

/// `attention_f32.cu`.
const fn f32(width: usize, rows: usize) -> Variant {
    let row = 4 * width + 16;
    let backward = (2 * rows + 64) * row + 192 * rows;
    Variant {
        width,
        threads: 256,
        rows: [64, rows, rows],
        shared: [(64 + 64) * row + 192 * 64, backward, backward],
    }
}

const BF16: [Variant; 9] = [
    bf16(16, 32, [128, 128, 128], [64, 64]),
    bf16(32, 64, [128, 128, 128], [64, 64]),
    bf16(40, 80, [128, 128, 128], [64, 64]),
    bf16(48, 96, [128, 128, 64], [64, 64]),
    bf16(64, 144, [128, 128, 128], [64, 64]),
    bf16(80, 160, [128, 64, 64], [64, 64]),
    bf16(96, 192, [64, 64, 64], [64, 64]),
    bf16(128, 272, [64, 64, 64], [32, 32]),
    bf16(160, 320, [64, 64, 64], [32, 32]),
];
const F32: [Variant; 3] = [f32(16, 64), f32(64, 64), f32(160, 32)];

/// The kernels for heads of `dim` channels; none for very wide ones.
fn variant(kind: Kind, dim: usize) -> Option<&'static Variant> {
    let all: &[Variant] = match kind {
        Kind::Bf16 => &BF16,
        Kind::F32 => &F32,
    };
    all.iter().find(|v| v.width >= dim)
}

/// The tensor cores' kernels load eight channels at once: other heads are computed in f32.
fn is_odd(kind: Kind, dim: usize) -> bool {
    kind == Kind::Bf16 && !dim.is_multiple_of(8) && variant(Kind::F32, dim).is_some()
}

/// Views in f32, and their owners.
fn widen<'a, const N: usize>(
    gpu: &Gpu,
    views: [GpuView<'a>; N],
) -> Result<([GpuView<'a>; N], Vec<Buffer>)> {
    let (mut wide, mut held) = (views, vec![]);
    for view in &mut wide {
        let buffer = gpu.cast(*view, Kind::F32)?;
        *view = buffer.view(view.dims);
        held.push(buffer);
    }
    Ok((wide, held))
}

impl Attention {
    fn scale(&self) -> f32 {
        (1.0 / (self.heads.dim as f64).sqrt()) as f32
    }

    /// The mask's number and, if it lists keys, one byte per key.
    fn mask(&self, gpu: &Gpu) -> Result<(i32, Option<CudaSlice<u8>>)> {
        Ok(match &self.visible {
            Visible::All => (0, None),
            Visible::UpToSelf => (1, None),
            Visible::Kept(kept) => {
                let bytes: Vec<u8> = kept.iter().map(|&keep| u8::from(keep)).collect();
                let keep = gpu.stream.clone_htod(&bytes).w()?;
                // The bytes must live until they are copied.
                gpu.stream.synchronize().w()?;
                (2, Some(keep))
            }
        })
    }

    fn launch(&self, variant: &Variant, pass: usize) -> Launch {
        let h = &self.heads;
        let rows = if pass == BACKWARD_KV {
            h.keys
        } else {
            h.queries
        };
        Launch {
            grid: [rows.div_ceil(variant.rows[pass]), h.heads, h.batch],
            block: [variant.threads, 1, 1],
            shared: variant.shared[pass],
        }
    }

    /// The last arguments of all kernels.
    fn sizes(&self, gpu: &Gpu, mask: i32, keep: Option<&CudaSlice<u8>>) -> [Arg; 7] {
        let h = &self.heads;
        [
            Arg::Ptr(keep.map_or(0, |keep| keep.device_ptr(&gpu.stream).0)),
            Arg::Int(mask),
            Arg::int(h.queries),
            Arg::int(h.keys),
            Arg::int(h.heads),
            Arg::int(h.dim),
            Arg::Float(self.scale()),
        ]
    }

    /// Per head: scores of a strip of queries by a product, their softmax, and its product with V.
    fn by_strips(&self, gpu: &Gpu, [q, k, v]: [GpuView<'_>; 3], out: &Buffer) -> Result<()> {
        const STRIP: usize = 1024;
        let h = &self.heads;
        let (kind, width) = (q.kind, h.heads * h.dim);
        let (mask, keep) = self.mask(gpu)?;
        let strip = STRIP.min(h.queries);
        let scores = gpu.alloc(Kind::F32, strip * h.keys)?;
        let weights = gpu.alloc(kind, strip * h.keys)?;
        for image in 0..h.batch {
            let keep = keep.as_ref().map_or(0, |keep| {
                keep.device_ptr(&gpu.stream).0 + (image * h.keys) as u64
            });
            for head in 0..h.heads {
                let at = |ptr: u64, tokens: usize, first: usize| {
                    ptr + (((image * tokens + first) * width + head * h.dim) * kind.bytes()) as u64
                };
                let keys = |ptr| Matrix::strided(at(ptr, h.keys, 0), h.keys, h.dim, width);
                for first in (0..h.queries).step_by(strip) {
                    let rows = strip.min(h.queries - first);
                    let queries = at(q.ptr, h.queries, first);
                    let product = Product {
                        a: Matrix::strided(queries, rows, h.dim, width),
                        b: keys(k.ptr).t(),
                        bias: None,
                        kind,
                        out: Kind::F32,
                    };
                    gpu.product_into(&product, scores.ptr(), h.keys)?;
                    let args = [
                        Arg::Ptr(scores.ptr()),
                        Arg::Ptr(weights.ptr()),
                        Arg::Ptr(keep),
                        Arg::Int(mask),
                        Arg::int(first),
                        Arg::int(h.keys),
                        Arg::long(rows),
                        Arg::Float(self.scale()),
                    ];
                    gpu.launch_for("softmax_rows", kind, Launch::blocks([rows, 1, 1]), &args)?;
                    let product = Product {
                        a: Matrix::new(weights.ptr(), rows, h.keys),
                        b: keys(v.ptr),
                        bias: None,
                        kind,
                        out: kind,
                    };
                    gpu.product_into(&product, at(out.ptr(), h.queries, first), width)?;
                }
            }
        }
        Ok(())
    }
}

impl OnGpu<3> for Attention {
    fn gpu_forward(&self, gpu: &Gpu, args: [GpuView<'_>; 3]) -> Result<(Buffer, Vec<usize>)> {
        let [q, k, v] = args;
        same_kind("attention", &args)?;
        let h = &self.heads;
        if is_odd(q.kind, h.dim) {
            let (wide, _held) = widen(gpu, args)?;
            let (out, dims) = self.gpu_forward(gpu, wide)?;
            return Ok((gpu.cast(out.view(&dims), q.kind)?, dims));
        }
        let out = gpu.alloc(q.kind, q.len())?;
        let Some(variant) = variant(q.kind, h.dim) else {
            self.by_strips(gpu, args, &out)?;
            return Ok((out, q.dims.to_vec()));
        };
        let sums = gpu.alloc(Kind::F32, h.batch * h.heads * h.queries)?;
        let (mask, keep) = self.mask(gpu)?;
        let mut args = vec![
            Arg::Ptr(q.ptr),
            Arg::Ptr(k.ptr),
            Arg::Ptr(v.ptr),
            Arg::Ptr(out.ptr()),
            Arg::Ptr(sums.ptr()),
        ];
        args.extend(self.sizes(gpu, mask, keep.as_ref()));
        let name = format!("attention_{}_d{}", q.kind.name(), variant.width);
        gpu.launch(&name, self.launch(variant, FORWARD), &args)?;
        let _ = self.on_gpu.0.set(sums);
        Ok((out, q.dims.to_vec()))
    }

    fn gpu_backward(
        &self,
        gpu: &Gpu,
        [q, k, v]: [GpuView<'_>; 3],
        [want_q, want_k, want_v]: [bool; 3],
        out: GpuView<'_>,
        grad: GpuView<'_>,
    ) -> Result<[Gradient<Buffer>; 3]> {
        let h = &self.heads;
        if is_odd(q.kind, h.dim) {
            let ([q32, k32, v32, out, grad], _held) = widen(gpu, [q, k, v, out, grad])?;
            let wanted = [want_q, want_k, want_v];
            let wide = self.gpu_backward(gpu, [q32, k32, v32], wanted, out, grad)?;
            let mut narrow = [Gradient::None, Gradient::None, Gradient::None];
            for ((narrow, wide), x) in narrow.iter_mut().zip(wide).zip([q, k, v]) {
                if let Gradient::Values(wide) = wide {
                    *narrow = Gradient::Values(gpu.cast(wide.view(x.dims), x.kind)?);
                }
            }
            return Ok(narrow);
        }
        let (Some(variant), Some(sums)) = (variant(q.kind, h.dim), self.on_gpu.0.get()) else {
            bail!(
                "attention: no gradient on CUDA for heads of {} channels: at most 160",
                h.dim
            )
        };
        let kind = q.kind.name();
        let count = h.batch * h.heads * h.queries;
        let delta = gpu.alloc(Kind::F32, count)?;
        let args = [
            Arg::Ptr(out.ptr),
            Arg::Ptr(grad.ptr),
            Arg::Ptr(delta.ptr()),
            Arg::int(h.queries),
            Arg::int(h.heads),
            Arg::int(h.dim),
            Arg::long(count),
        ];
        let rows = Launch::blocks([count.div_ceil(32), 1, 1]);
        gpu.launch_for("attention_delta", q.kind, rows, &args)?;
        let (mask, keep) = self.mask(gpu)?;
        let arguments = |results: &[Arg]| {
            let inputs = [q.ptr, k.ptr, v.ptr, grad.ptr, sums.ptr(), delta.ptr()];
            let mut args: Vec<Arg> = inputs.map(Arg::Ptr).to_vec();
            args.extend(results);
            args.extend(self.sizes(gpu, mask, keep.as_ref()));
            args
        };
        let dq = when(want_q, || {
            let dq = gpu.alloc(q.kind, q.len())?;
            let name = format!("attention_backward_q_{kind}_d{}", variant.width);
            let launch = self.launch(variant, BACKWARD_Q);
            gpu.launch(&name, launch, &arguments(&[Arg::Ptr(dq.ptr())]))?;
            Ok(dq)
        })?;
        if !want_k && !want_v {
            return Ok([dq, Gradient::None, Gradient::None]);
        }
        let [dk, dv] = [(want_k, k), (want_v, v)].map(|(wanted, x)| {
            let made = wanted.then(|| gpu.alloc(x.kind, x.len()));
            made.transpose()
        });
        let (dk, dv) = (dk?, dv?);
        let pointer = |x: &Option<Buffer>| Arg::Ptr(x.as_ref().map_or(0, Buffer::ptr));
        let name = format!("attention_backward_kv_{kind}_d{}", variant.width);
        let args = arguments(&[pointer(&dk), pointer(&dv)]);
        gpu.launch(&name, self.launch(variant, BACKWARD_KV), &args)?;
        let gradient = |x: Option<Buffer>| x.map_or(Gradient::None, Gradient::Values);
        Ok([dq, gradient(dk), gradient(dv)])
    }
}
