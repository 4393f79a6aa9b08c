//! Scaled dot-product attention with several heads.

mod backward;
mod forward;
mod heads;
mod softmax;
mod spec;
mod strips;
#[cfg(test)]
mod tests;
mod tiles;
mod turn;

use crate::autograd::{Differentiable, Gradient, View, apply3};
use crate::vector::Level;
use candle_core::{Result, Tensor, bail};
use heads::Heads;
pub(crate) use spec::{Attention, Visible};
use std::sync::OnceLock;

/// Which keys a query may see.
#[derive(Clone, Debug)]
pub enum Mask {
    /// All keys.
    None,
    /// Keys at its own and earlier positions; needs as many keys as queries.
    Causal,
    /// Those where this `[B, M]` f32 tensor is not 0.
    Keys(Tensor),
}

/// softmax(Q K^T / sqrt(d)) V per head, for `q` `[B, N, C]` and `k`, `v` `[B, M, C]`, with d = C / `heads`; N and M may be
/// several dimensions; head h owns the channels h d .. (h + 1) d. The result has the shape of `q`. The matrix of weights is never
/// stored: the backward pass recomputes it from the maximum and the sum of each row.
///
/// # Errors
/// If the shapes do not fit, `heads` does not divide C, a [`Mask::Keys`] leaves a sample without any key, or a dtype is not f32.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize, mask: &Mask) -> Result<Tensor> {
    let (Some([batch, queries, channels]), Some([kb, keys, kc])) = (tokens(q), tokens(k)) else {
        bail!(
            "attention: q {:?}, k {:?}; expected [B, N, C] and [B, M, C]",
            q.shape(),
            k.shape()
        )
    };
    if v.dims() != k.dims() || kb != batch || kc != channels || keys == 0 {
        bail!(
            "attention: q {:?}, k {:?}, v {:?}; expected [B, N, C], [B, M, C], [B, M, C]",
            q.shape(),
            k.shape(),
            v.shape()
        )
    }
    if heads == 0 || channels % heads != 0 || channels == 0 {
        bail!("attention: {channels} channels do not divide into {heads} heads")
    }
    let visible = match mask {
        Mask::None => Visible::All,
        Mask::Causal if queries == keys => Visible::UpToSelf,
        Mask::Causal => {
            bail!("attention: a causal mask needs as many keys ({keys}) as queries ({queries})")
        }
        Mask::Keys(mask) => Visible::Kept(kept_keys(mask, batch, keys)?),
    };
    let heads = Heads {
        batch,
        heads,
        dim: channels / heads,
        queries,
        keys,
    };
    apply3(
        Attention {
            heads,
            visible,
            level: Level::best(),
            stats: OnceLock::new(),
            #[cfg(feature = "cuda")]
            on_gpu: Default::default(),
        },
        q,
        k,
        v,
    )
}

/// Samples, tokens and channels of `[B, .., C]`.
fn tokens(x: &Tensor) -> Option<[usize; 3]> {
    match x.dims() {
        [batch, between @ .., channels] if !between.is_empty() => {
            Some([*batch, between.iter().product(), *channels])
        }
        _ => None,
    }
}

/// Whether a key is kept, `[B, M]`.
fn kept_keys(mask: &Tensor, batch: usize, keys: usize) -> Result<Vec<bool>> {
    if mask.dims() != [batch, keys] {
        bail!(
            "attention: key mask {:?}; expected [{batch}, {keys}]",
            mask.shape()
        )
    }
    let mask: Vec<Vec<f32>> = mask.to_vec2()?;
    if let Some(b) = mask
        .iter()
        .position(|row| row.iter().all(|&keep| keep == 0.0))
    {
        bail!("attention: the key mask keeps no key of sample {b}")
    }
    Ok(mask.into_iter().flatten().map(|keep| keep != 0.0).collect())
}

impl Differentiable<3> for Attention {
    const NAME: &'static str = "attention";

    fn forward(&self, [q, k, v]: [View<'_>; 3]) -> Result<(Vec<f32>, Vec<usize>)> {
        let (out, stats) = forward::forward(self, [q.data, k.data, v.data], self.level);
        let _ = self.stats.set(stats);
        Ok((out, q.dims.to_vec()))
    }

    fn backward(
        &self,
        [q, k, v]: [View<'_>; 3],
        wanted: [bool; 3],
        out: View<'_>,
        grad: View<'_>,
    ) -> Result<[Gradient; 3]> {
        let Some(stats) = self.stats.get() else {
            bail!("attention: backward without a forward")
        };
        let side = backward::Side {
            q: q.data,
            k: k.data,
            v: v.data,
            out: out.data,
            grad: grad.data,
            stats,
        };
        Ok(backward::backward(self, &side, wanted))
    }
}
