//! An exponential moving average of weights (Polyak averaging), in place.

use super::gradients::named_alike;
use crate::parallel::GRAIN;
use crate::simd::simd;
use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Var, bail};
use rayon::prelude::*;

/// The decay of an average after `n` steps: `min(decay, (1 + n) / (10 + n))`, so that it forgets its start.
#[must_use]
pub fn ema_decay(decay: f64, n: u64) -> f64 {
    let n = n as f64;
    decay.min((1. + n) / (10. + n))
}

/// `a <- a + (1 - d) (w - a)` after every step, with `d` of [`ema_decay`] after `n` steps. diffusers' `EMAModel` does the same except for its first step, which copies the weights.
pub struct Ema {
    decay: f64,
    pairs: Vec<(Var, Var)>,
    steps: u64,
}

#[inline(always)]
fn lerp_body<const FMA: bool>(average: &mut [f32], weights: &[f32], rate: f32) {
    for (a, w) in average.iter_mut().zip(weights) {
        *a += rate * (w - *a);
    }
}

simd! {
    fn lerp(average: &mut [f32], weights: &[f32], rate: f32) = lerp_body;
}

/// One tensor's step.
struct Lerp(f32);

impl InplaceOp2 for Lerp {
    fn name(&self) -> &'static str {
        "ema"
    }

    fn cpu_fwd(&self, a: &mut CpuStorage, la: &Layout, w: &CpuStorage, lw: &Layout) -> Result<()> {
        let (CpuStorage::F32(a), CpuStorage::F32(w), Some((a0, a1)), Some((w0, w1))) =
            (a, w, la.contiguous_offsets(), lw.contiguous_offsets())
        else {
            bail!("ema: not contiguous f32: {la:?}, {lw:?}")
        };
        a[a0..a1]
            .par_chunks_mut(GRAIN)
            .zip(w[w0..w1].par_chunks(GRAIN))
            .for_each(|(a, w)| lerp(a, w, self.0));
        Ok(())
    }
}

impl Ema {
    /// Averages of `weights` in `averages`, which hold the initial values; both as from [`crate::weights::Params::vars`].
    /// `steps`: number of steps already averaged.
    ///
    /// # Errors
    /// If the decay is outside \[0, 1), names or shapes differ, or tensors are on a GPU, which is not supported.
    pub fn new(
        decay: f64,
        averages: Vec<(String, Var)>,
        weights: &[(String, Var)],
        steps: u64,
    ) -> Result<Self> {
        if !(0.0..1.0).contains(&decay) {
            bail!("EMA: the decay {decay} is not in [0, 1)")
        }
        named_alike("EMA", &averages, weights)?;
        if let Some((name, _)) = weights.iter().find(|(_, w)| !w.device().is_cpu()) {
            bail!("EMA: {name} is on a GPU; averages are computed on the CPU alone")
        }
        let pairs = averages.into_iter().zip(weights);
        Ok(Self {
            decay,
            pairs: pairs.map(|((_, a), (_, w))| (a, w.clone())).collect(),
            steps,
        })
    }

    /// Averages the current weights. Call it after every step of the optimiser.
    ///
    /// # Errors
    /// Tensors that are not contiguous f32.
    pub fn step(&mut self) -> Result<()> {
        let decay = ema_decay(self.decay, self.steps);
        for (average, weights) in &self.pairs {
            average
                .as_tensor()
                .inplace_op2(weights.as_tensor(), &Lerp((1. - decay) as f32))?;
        }
        self.steps += 1;
        Ok(())
    }
}
