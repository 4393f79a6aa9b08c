//! An operation as a custom op of candle's, on the CPU.

use super::op::{Differentiable, Gradient};
use super::view::{view, with_views};
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, Device, Layout, Result, Shape, Tensor,
};

/// A node of candle's graph.
pub(super) struct Bridge<K>(pub(super) K);

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
