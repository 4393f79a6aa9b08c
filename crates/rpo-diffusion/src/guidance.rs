//! What a step of the sampler follows: the network's own prediction, classifier-free guidance, or DCO's reward guidance.

use candle_core::{Result, Tensor, bail};

use crate::conditioning::Conditioning;
use crate::unet::{TextContext, UNet2DConditionModel};

/// A network and the texts of its pictures.
#[derive(Clone, Copy)]
pub struct Guided<'a> {
    /// ε_θ.
    pub unet: &'a UNet2DConditionModel,
    /// c_V: one row per picture.
    pub cond: &'a Conditioning,
    /// ∅: the single row of the negative prompt, as ε_θ reads it; with reward guidance as the base does.
    pub uncond: &'a Conditioning,
    /// What leads from a base network to ε_θ, if anything does.
    pub reward: Option<RewardGuidance<'a>>,
}

/// Reward guidance (Lee et al. 2024, DCO, whose reward is the trained network's own change of the base): the prediction is
/// `ε_b(∅) + w [ε_b(c) - ε_b(∅)] + w_r [ε_θ(c_V) - ε_b(c)]`.
#[derive(Clone, Copy)]
pub struct RewardGuidance<'a> {
    /// w_r.
    pub scale: f64,
    /// ε_b.
    pub base: &'a UNet2DConditionModel,
    /// c, the prompts without the subject's token: one row per picture, as the base's text encoders read it.
    pub plain: &'a Conditioning,
}

impl Guided<'_> {
    /// The predictions of `n` pictures from `start` on; `led`: of each evaluation, whether it computes more than ε_θ(c_V).
    pub(crate) fn of_batch(
        &self,
        scale: f64,
        (start, n): (usize, usize),
        led: &[bool],
    ) -> Result<Led<'_>> {
        let cond = self.cond.narrow(start, n)?;
        let uncond = || self.uncond.repeat(n);
        // Only inputs that some evaluation reads are prepared.
        let (mut guided, mut alone) = (None, None);
        if led.contains(&true) {
            guided = Some(match &self.reward {
                None => {
                    let both = Conditioning::cat(&[&uncond()?, &cond])?;
                    self.unet.prepare_text(&both)?
                }
                Some(reward) => {
                    let plain = reward.plain.narrow(start, n)?;
                    // At w = 1 ε_b(∅) has no part in the sum.
                    let read = match scale == 1. {
                        true => plain,
                        false => Conditioning::cat(&[&uncond()?, &plain])?,
                    };
                    reward.base.prepare_text(&read)?
                }
            });
        }
        if self.reward.is_some() || led.contains(&false) {
            alone = Some(self.unet.prepare_text(&cond)?);
        }
        Ok(Led {
            unet: self.unet,
            reward: self.reward.map(|reward| (reward.base, reward.scale)),
            scale,
            n,
            guided,
            alone,
        })
    }
}

/// The predictions of one batch.
pub(crate) struct Led<'a> {
    unet: &'a UNet2DConditionModel,
    /// ε_b and w_r.
    reward: Option<(&'a UNet2DConditionModel, f64)>,
    /// w.
    scale: f64,
    /// Pictures.
    n: usize,
    /// ∅ and c_V for ε_θ; with reward guidance ∅, unless w is 1, and c for ε_b.
    guided: Option<TextContext>,
    /// c_V for ε_θ.
    alone: Option<TextContext>,
}

impl Led<'_> {
    /// The prediction at `x` and timestep `t`; `led`: not of ε_θ(c_V) alone.
    pub(crate) fn predict(&self, x: &Tensor, t: f64, led: bool) -> Result<Tensor> {
        if !led {
            return self.own(x, t);
        }
        let Some(text) = &self.guided else {
            bail!("the texts of guidance were not prepared")
        };
        let Some((base, reward)) = self.reward else {
            return Ok(self.classifier_free(self.unet, x, t, text)?.0);
        };
        let (led, plain) = match self.scale == 1. {
            true => {
                let plain = base.forward_with(x, &[t], text)?.detach();
                (plain.clone(), plain)
            }
            false => self.classifier_free(base, x, t, text)?,
        };
        led + ((self.own(x, t)? - plain)? * reward)?
    }

    fn own(&self, x: &Tensor, t: f64) -> Result<Tensor> {
        let Some(text) = &self.alone else {
            bail!("the texts of what is not guided were not prepared")
        };
        Ok(self.unet.forward_with(x, &[t], text)?.detach())
    }

    /// Of one pass over ∅ and c: `ε(∅) + w [ε(c) - ε(∅)]`, and ε(c).
    fn classifier_free(
        &self,
        unet: &UNet2DConditionModel,
        x: &Tensor,
        t: f64,
        text: &TextContext,
    ) -> Result<(Tensor, Tensor)> {
        let both = unet
            .forward_with(&Tensor::cat(&[x, x], 0)?, &[t], text)?
            .detach();
        let (uncond, cond) = (both.narrow(0, 0, self.n)?, both.narrow(0, self.n, self.n)?);
        let led = (&uncond + ((&cond - &uncond)? * self.scale)?)?;
        Ok((led, cond))
    }
}
