//! The prompts of pictures, as each network that predicts for them reads them.

use super::network::Network;
use anyhow::Result;
use rpo_diffusion::{Conditioning, Guided, RewardGuidance, Texts};

/// The prompts of some pictures, a row each, and what guidance leads away from.
pub(super) struct Conditioned {
    cond: Conditioning,
    /// Without the token, for the base of reward guidance.
    plain: Option<Conditioning>,
    uncond: Conditioning,
}

impl Conditioned {
    /// `own`: the model's text encoders; `size`: side of the pictures in pixels. With reward guidance it is the base that reads the
    /// negative prompt.
    ///
    /// # Errors
    /// Those of the text encoders.
    pub(super) fn of(
        network: &Network,
        own: &Texts,
        prompts: &[&str],
        negative: Option<&str>,
        size: usize,
    ) -> Result<Self> {
        let reading = network.texts.as_ref().unwrap_or(own);
        let cond = reading.encode(prompts, size)?;
        let (plain, leading) = match &network.reward {
            None => (None, reading),
            Some(reward) => {
                let reading = reward.texts.as_ref().unwrap_or(own);
                let plain: Vec<String> = prompts.iter().map(|p| reward.plain(p)).collect();
                (Some(reading.encode(&plain, size)?), reading)
            }
        };
        let uncond = match negative {
            None => leading.unconditional(size)?,
            Some(text) => leading.encode(&[text], size)?,
        };
        Ok(Self {
            cond,
            plain,
            uncond,
        })
    }

    /// `n` pictures from `start` on.
    ///
    /// # Errors
    /// If there are not so many.
    pub(super) fn narrow(&self, start: usize, n: usize) -> Result<Self> {
        let plain = self.plain.as_ref().map(|plain| plain.narrow(start, n));
        Ok(Self {
            cond: self.cond.narrow(start, n)?,
            plain: plain.transpose()?,
            uncond: self.uncond.clone(),
        })
    }

    /// For the network that they were read for.
    pub(super) fn guided<'a>(&'a self, network: &'a Network) -> Guided<'a> {
        let reward = network.reward.as_ref().zip(self.plain.as_ref());
        Guided {
            unet: &network.unet,
            cond: &self.cond,
            uncond: &self.uncond,
            reward: reward.map(|(reward, plain)| RewardGuidance {
                scale: reward.scale,
                base: &reward.base,
                plain,
            }),
        }
    }
}
