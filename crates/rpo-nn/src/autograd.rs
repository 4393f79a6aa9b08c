//! Bridge from slice kernels to candle's custom ops.

#[cfg(feature = "cuda")]
pub(crate) use crate::gpu::OnGpu;
use crate::tape;
use crate::values::Values;
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, DType, Device, Layout, Result, Shape, Storage,
    Tensor, bail,
};

/// What an operation does on a GPU, in builds that know one.
#[cfg(not(feature = "cuda"))]
pub(crate) trait OnGpu<const N: usize> {}
#[cfg(not(feature = "cuda"))]
impl<K, const N: usize> OnGpu<N> for K {}

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

/// The gradient with respect to one argument.
pub(crate) enum Gradient<V = Vec<f32>> {
    /// Not wanted.
    None,
    /// The gradient of the result itself, in the shape of the argument.
    Same,
    /// These values, in the shape of the argument.
    Values(V),
}

impl<V> Gradient<V> {
    /// `Values(f())` if wanted.
    pub(crate) fn when(wanted: bool, f: impl FnOnce() -> V) -> Self {
        if wanted {
            Self::Values(f())
        } else {
            Self::None
        }
    }

    pub(crate) fn same_when(wanted: bool) -> Self {
        if wanted { Self::Same } else { Self::None }
    }

    fn map<U>(self, f: impl FnOnce(V) -> U) -> Gradient<U> {
        match self {
            Self::None => Gradient::None,
            Self::Same => Gradient::Same,
            Self::Values(values) => Gradient::Values(f(values)),
        }
    }
}

/// An operation of `N` arguments on slices. Shapes have been checked before it is applied.
pub(crate) trait Differentiable<const N: usize>: OnGpu<N> + Send + Sync + 'static {
    const NAME: &'static str;

    /// Values and shape of the result.
    fn forward(&self, args: [View<'_>; N]) -> Result<(Vec<f32>, Vec<usize>)>;

    /// The gradients of the arguments that are wanted, from the result `out` and its gradient `grad`.
    fn backward(
        &self,
        args: [View<'_>; N],
        wanted: [bool; N],
        out: View<'_>,
        grad: View<'_>,
    ) -> Result<[Gradient; N]>;
}

struct Bridge<K>(K);

/// Applies `op`; arguments that are not contiguous are copied first.
pub(crate) fn apply1<K: Differentiable<1>>(op: K, a: &Tensor) -> Result<Tensor> {
    match tape::apply(op, [prepare(K::NAME, a)?])? {
        Ok(out) => Ok(out),
        Err((op, [a])) => a.apply_op1(Bridge(op)),
    }
}

/// See [`apply1`].
pub(crate) fn apply2<K: Differentiable<2>>(op: K, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    match tape::apply(op, [prepare(K::NAME, a)?, prepare(K::NAME, b)?])? {
        Ok(out) => Ok(out),
        Err((op, [a, b])) => a.apply_op2(&b, Bridge(op)),
    }
}

/// See [`apply1`].
pub(crate) fn apply3<K: Differentiable<3>>(
    op: K,
    a: &Tensor,
    b: &Tensor,
    c: &Tensor,
) -> Result<Tensor> {
    let args = [
        prepare(K::NAME, a)?,
        prepare(K::NAME, b)?,
        prepare(K::NAME, c)?,
    ];
    match tape::apply(op, args)? {
        Ok(out) => Ok(out),
        Err((op, [a, b, c])) => a.apply_op3(&b, &c, Bridge(op)),
    }
}

fn prepare(name: &str, t: &Tensor) -> Result<Tensor> {
    match (t.device(), t.dtype()) {
        (Device::Cpu, DType::F32) => t.contiguous(),
        (Device::Cpu, dtype) => bail!(
            "{name}: an argument {:?} is {dtype:?}, these operations take f32",
            t.shape()
        ),
        // candle's own kernels, which would copy it, are not part of the program.
        (Device::Cuda(_), _) if t.is_contiguous() => Ok(t.clone()),
        (device, _) => bail!(
            "{name}: an argument {:?} on {:?} cannot be used, or is not contiguous",
            t.shape(),
            device.location()
        ),
    }
}

fn view<'a>(storage: &'a CpuStorage, layout: &'a Layout) -> Result<View<'a>> {
    let Some((from, to)) = layout.contiguous_offsets() else {
        bail!("a kernel met a tensor that is not contiguous: {layout:?}")
    };
    Ok(View {
        data: &storage.as_slice::<f32>()?[from..to],
        dims: layout.dims(),
    })
}

/// Values and shape of `op` of contiguous arguments, wherever they lie.
pub(crate) fn forward<K: Differentiable<N>, const N: usize>(
    op: &K,
    args: [&Tensor; N],
) -> Result<(Values, Vec<usize>)> {
    #[cfg(feature = "cuda")]
    if args[0].device().is_cuda() {
        return crate::gpu::with_views(args, |gpu, views| {
            let (values, dims) = op.gpu_forward(gpu, views)?;
            Ok((Values::Gpu(values), dims))
        });
    }
    let (values, dims) = with_views(args, |views| op.forward(views))?;
    Ok((Values::Cpu(values), dims))
}

/// The gradients of `op`; see [`Differentiable::backward`].
pub(crate) fn backward<K: Differentiable<N>, const N: usize>(
    op: &K,
    args: [&Tensor; N],
    out: &Tensor,
    grad: &Values,
) -> Result<[Gradient<Values>; N]> {
    let wanted = args.map(Tensor::track_op);
    match grad {
        Values::Cpu(grad) => {
            let gradients = with_views(args, |views| {
                with_views([out], |[out]| {
                    let grad = View {
                        data: grad,
                        dims: out.dims,
                    };
                    op.backward(views, wanted, out, grad)
                })
            })?;
            Ok(gradients.map(|g| g.map(Values::Cpu)))
        }
        #[cfg(feature = "cuda")]
        Values::Gpu(grad) => {
            use crate::gpu::with_views;
            let gradients = with_views(args, |gpu, views| {
                with_views([out], |_, [out]| {
                    op.gpu_backward(gpu, views, wanted, out, grad.view(out.dims))
                })
            })?;
            Ok(gradients.map(|g| g.map(Values::Gpu)))
        }
    }
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

fn result((values, dims): (Vec<f32>, Vec<usize>)) -> Result<(CpuStorage, Shape)> {
    debug_assert_eq!(values.len(), dims.iter().product::<usize>());
    Ok((CpuStorage::F32(values), Shape::from(dims)))
}

fn gradient(g: Gradient, arg: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
    Ok(match g {
        Gradient::None => None,
        Gradient::Same => Some(grad.reshape(arg.shape())?),
        Gradient::Values(values) => Some(Tensor::from_vec(values, arg.shape(), &Device::Cpu)?),
    })
}

impl<K: Differentiable<1>> CustomOp1 for Bridge<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout) -> Result<(CpuStorage, Shape)> {
        result(self.0.forward([view(s1, l1)?])?)
    }

    fn bwd(&self, a: &Tensor, out: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        let [ga] = with_views([a, out, &grad], |[va, out, grad]| {
            self.0.backward([va], [a.track_op()], out, grad)
        })?;
        gradient(ga, a, &grad)
    }
}

impl<K: Differentiable<2>> CustomOp2 for Bridge<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        result(self.0.forward([view(s1, l1)?, view(s2, l2)?])?)
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        out: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let [ga, gb] = with_views([a, b, out, &grad], |[va, vb, out, grad]| {
            self.0
                .backward([va, vb], [a.track_op(), b.track_op()], out, grad)
        })?;
        Ok((gradient(ga, a, &grad)?, gradient(gb, b, &grad)?))
    }
}

impl<K: Differentiable<3>> CustomOp3 for Bridge<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        result(
            self.0
                .forward([view(s1, l1)?, view(s2, l2)?, view(s3, l3)?])?,
        )
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        c: &Tensor,
        out: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let [ga, gb, gc] = with_views([a, b, c, out, &grad], |[va, vb, vc, out, grad]| {
            let wanted = [a.track_op(), b.track_op(), c.track_op()];
            self.0.backward([va, vb, vc], wanted, out, grad)
        })?;
        Ok((
            gradient(ga, a, &grad)?,
            gradient(gb, b, &grad)?,
            gradient(gc, c, &grad)?,
        ))
    }
}
