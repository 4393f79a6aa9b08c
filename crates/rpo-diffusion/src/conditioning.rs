//! Conditioning of the U-Net besides the timestep: text states, and SDXL's pooled text and picture sizes.

use candle_core::{Device, Result, Tensor, bail};
use rpo_nn::ops;

/// The conditioning of `B` rows.
#[derive(Debug, Clone)]
pub struct Conditioning {
    /// diffusers' `encoder_hidden_states`, `[B, S, D]`.
    pub hidden_states: Tensor,
    /// diffusers' `added_cond_kwargs`, for U-Nets with `addition_embed_type = "text_time"` (SDXL).
    pub added: Option<Added>,
}

/// SDXL's added conditioning.
#[derive(Debug, Clone)]
pub struct Added {
    /// Pooled text of the last text encoder, `[B, P]`.
    pub text_embeds: Tensor,
    /// `[B, 6]`: original height and width, top and left of the crop, target height and width, in pixels.
    pub time_ids: Tensor,
}

impl Added {
    /// For uncropped square pictures of `size` pixels with pooled texts `[B, P]`.
    ///
    /// # Errors
    /// If the texts are not a matrix.
    pub fn square(text_embeds: Tensor, size: usize) -> Result<Self> {
        let (batch, _) = text_embeds.dims2()?;
        let row = [size, size, 0, 0, size, size].map(|n| n as f32);
        Ok(Self {
            text_embeds,
            time_ids: Tensor::from_vec(row.repeat(batch), (batch, 6), &Device::Cpu)?,
        })
    }
}

impl From<Tensor> for Conditioning {
    /// Text states `[B, S, D]` alone: Stable Diffusion 1.x and 2.x.
    fn from(hidden_states: Tensor) -> Self {
        Self {
            hidden_states,
            added: None,
        }
    }
}

impl Conditioning {
    /// B, the number of rows.
    ///
    /// # Errors
    /// If the states are not `[B, S, D]`, or the added parts have other numbers of rows.
    pub fn batch(&self) -> Result<usize> {
        let (batch, _, _) = self.hidden_states.dims3()?;
        if let Some(Added {
            text_embeds,
            time_ids,
        }) = &self.added
            && (text_embeds.dim(0)? != batch || time_ids.dim(0)? != batch)
        {
            bail!(
                "encoder_hidden_states {:?}, text_embeds {:?}, time_ids {:?}: the first dimensions must be equal",
                self.hidden_states.shape(),
                text_embeds.shape(),
                time_ids.shape()
            )
        }
        Ok(batch)
    }

    /// Applies a function to every part.
    fn map(&self, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        let added = |a: &Added| -> Result<Added> {
            Ok(Added {
                text_embeds: f(&a.text_embeds)?,
                time_ids: f(&a.time_ids)?,
            })
        };
        Ok(Self {
            hidden_states: f(&self.hidden_states)?,
            added: self.added.as_ref().map(added).transpose()?,
        })
    }

    /// Some rows, in this order; rows may repeat. A tape follows them.
    ///
    /// # Errors
    /// If a row does not exist.
    pub fn select(&self, rows: &[u32]) -> Result<Self> {
        self.map(|t| match *t.dims() {
            [_, _] => ops::embedding(t, rows, &[rows.len()]),
            [_, s, _] => {
                let s32 = s as u32;
                let own = |row: u32| (0..s32).map(move |i| row * s32 + i);
                let places: Vec<u32> = rows.iter().copied().flat_map(own).collect();
                ops::embedding(t, &places, &[rows.len(), s])
            }
            _ => bail!("a conditioning of shape {:?}", t.shape()),
        })
    }

    /// `n` rows from `start` on.
    ///
    /// # Errors
    /// If the rows do not exist.
    pub fn narrow(&self, start: usize, n: usize) -> Result<Self> {
        self.map(|t| t.narrow(0, start, n)?.contiguous())
    }

    /// A single row, `n` times.
    ///
    /// # Errors
    /// If there is not exactly one row.
    pub fn repeat(&self, n: usize) -> Result<Self> {
        let batch = self.batch()?;
        if batch != 1 {
            bail!("{batch} texts where one is repeated")
        }
        self.select(&vec![0; n])
    }

    /// Concatenation of all rows.
    ///
    /// # Errors
    /// If the shapes differ, or only some have SDXL's added parts.
    pub fn cat(all: &[&Self]) -> Result<Self> {
        let parts = |f: fn(&Self) -> Option<&Tensor>| -> Result<Option<Tensor>> {
            let some: Vec<&Tensor> = all.iter().filter_map(|c| f(c)).collect();
            match some.len() {
                0 => Ok(None),
                n if n == all.len() => Tensor::cat(&some, 0).map(Some),
                n => bail!("{n} of {} conditionings have text_embeds", all.len()),
            }
        };
        let Some(hidden_states) = parts(|c| Some(&c.hidden_states))? else {
            bail!("no conditioning to put together")
        };
        let text_embeds = parts(|c| c.added.as_ref().map(|a| &a.text_embeds))?;
        let time_ids = parts(|c| c.added.as_ref().map(|a| &a.time_ids))?;
        Ok(Self {
            hidden_states,
            added: text_embeds
                .zip(time_ids)
                .map(|(text_embeds, time_ids)| Added {
                    text_embeds,
                    time_ids,
                }),
        })
    }

    /// Zeros of the same shapes, with the sizes unchanged: SDXL's unconditional input
    /// (`force_zeros_for_empty_prompt`).
    ///
    /// # Errors
    /// Those of tensors.
    pub fn zeroed(&self) -> Result<Self> {
        let zeros = self.map(Tensor::zeros_like)?;
        Ok(Self {
            added: zeros
                .added
                .zip(self.added.clone())
                .map(|(zeros, own)| Added {
                    time_ids: own.time_ids,
                    ..zeros
                }),
            ..zeros
        })
    }
}
