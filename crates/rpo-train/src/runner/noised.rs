//! Noised rows of a step, and what networks predict for them.

use super::prompted::Prompted;
use anyhow::{Context, Result, bail};
use candle_core::Tensor;
use rpo_diffusion::{Conditioning, ImageAdapter, NoiseSchedule, Texts, UNet2DConditionModel};
use rpo_nn::{Tape, ops};

/// Noised latents `[B, h, w, C]`, their text, and the target of the prediction.
#[derive(Clone)]
pub struct Noised {
    noised: Tensor,
    pub(super) target: Tensor,
    pub(super) timesteps: Vec<usize>,
    pub(super) text: Prompted,
    /// √(m / mean of m) of a mask m, `[B, h, w, 1]`: of prediction and target multiplied by it, the mean of the squared differences is
    /// that weighted by m.
    mask: Option<Tensor>,
    /// f0 of every row's picture, `[B, D]`, where an image adapter adds to the text.
    pub(super) image: Option<Tensor>,
}

impl Noised {
    /// `x_t` of latents `x0` at `t` with noise `e`, and the target of the network.
    ///
    /// # Errors
    /// Shapes that do not fit; a timestep outside the schedule.
    pub fn new(
        schedule: &NoiseSchedule,
        x0: &Tensor,
        e: &Tensor,
        t: &[usize],
        text: impl Into<Prompted>,
    ) -> Result<Self> {
        Ok(Self {
            noised: schedule.add_noise(x0, e, t)?,
            target: schedule.target(x0, e, t)?,
            timesteps: t.to_vec(),
            text: text.into(),
            mask: None,
            image: None,
        })
    }

    /// The same rows, to whose texts an image adapter adds what it makes of the pictures' embeddings f0, `[B, D]`.
    #[must_use]
    pub fn with_image(self, embeddings: Tensor) -> Self {
        Self {
            image: Some(embeddings),
            ..self
        }
    }

    /// The same rows, whose errors are means weighted by a mask `[B, h, w, 1]`: `Σ m e / (C Σ m)` over C, h and w.
    ///
    /// # Errors
    /// Another shape; weights outside of [0, 1]; a row of zeros, which has no mean.
    pub fn masked(self, mask: &Tensor) -> Result<Self> {
        let (b, h, w, _) = self.target.dims4()?;
        if mask.dims() != [b, h, w, 1] {
            bail!("a mask {:?} of latents {:?}", mask.shape(), self.target)
        }
        let mut roots = Vec::with_capacity(b * h * w);
        for (row, values) in mask
            .flatten_all()?
            .to_vec1::<f32>()?
            .chunks(h * w)
            .enumerate()
        {
            let values = || values.iter().map(|m| f64::from(*m));
            let mean = values().sum::<f64>() / (h * w) as f64;
            if values().any(|m| !(0.0..=1.0).contains(&m)) || mean == 0.0 {
                bail!("the mask of row {row} is zero everywhere, or not within 0 and 1")
            }
            roots.extend(values().map(|m| (m / mean).sqrt() as f32));
        }
        let mask = Some(Tensor::from_vec(roots, mask.shape(), mask.device())?);
        Ok(Self { mask, ..self })
    }

    /// x_t, `[B, h, w, C]`.
    pub fn noised(&self) -> &Tensor {
        &self.noised
    }

    /// √(m / mean of m) of the rows' mask m, `[B, h, w, 1]`, if they have one.
    pub fn mask(&self) -> Option<&Tensor> {
        self.mask.as_ref()
    }

    /// f0 of every row's picture, `[B, D]`, where an image adapter adds to the text.
    pub fn image(&self) -> Option<&Tensor> {
        self.image.as_ref()
    }

    /// The prompt of every row; none where only their conditioning is known.
    pub fn prompts(&self) -> &[String] {
        &self.text.prompts
    }

    /// The timestep of every row.
    pub fn timesteps(&self) -> &[usize] {
        &self.timesteps
    }

    /// The same latents under another text, without their mask and their picture, which are of L_sim.
    pub fn under(&self, text: Prompted) -> Self {
        Self {
            text,
            mask: None,
            image: None,
            ..self.clone()
        }
    }

    pub(super) fn narrow(&self, start: usize, n: usize) -> Result<Self> {
        let part = |of: &Option<Tensor>| of.as_ref().map(|t| t.narrow(0, start, n)).transpose();
        Ok(Self {
            noised: self.noised.narrow(0, start, n)?,
            target: self.target.narrow(0, start, n)?,
            timesteps: self.timesteps[start..start + n].to_vec(),
            text: self.text.narrow(start, n)?,
            mask: part(&self.mask)?,
            image: part(&self.image)?,
        })
    }

    /// Latents and timesteps of every row of some blocks.
    fn inputs(blocks: &[Noised]) -> Result<(Tensor, Vec<f64>)> {
        let noised: Vec<&Tensor> = blocks.iter().map(|r| &r.noised).collect();
        let times = blocks.iter().flat_map(|r| r.timesteps.iter());
        let times = times.map(|t| *t as f64).collect();
        Ok((Tensor::cat(&noised, 0)?, times))
    }

    /// The conditioning of every row of some blocks by the model's own text encoders.
    fn texts(blocks: &[Noised]) -> candle_core::Result<Conditioning> {
        Conditioning::cat(&blocks.iter().map(|r| &r.text.text).collect::<Vec<_>>())
    }

    /// The predictions of a frozen network for every row of some blocks in one pass, `[blocks · B, h, w, C]`.
    pub(super) fn predictions(blocks: &[Noised], unet: &UNet2DConditionModel) -> Result<Tensor> {
        let (noised, times) = Self::inputs(blocks)?;
        Ok(unet.forward(&noised, &times, &Self::texts(blocks)?)?)
    }

    /// As [`Self::predictions`] on a tape, under the text encoders of the trained network and with its image adapter, where it has
    /// them.
    pub(super) fn trained_predictions(
        blocks: &[Noised],
        theta: &UNet2DConditionModel,
        reading: Option<Reading>,
        adapter: Option<&ImageAdapter>,
        tape: &Tape,
    ) -> Result<Tensor> {
        let (noised, times) = Self::inputs(blocks)?;
        let prompts = blocks.iter().flat_map(|r| &r.text.prompts);
        let prompts: Vec<&String> = prompts.collect();
        if reading.is_some() && prompts.len() != times.len() {
            bail!("{} prompts for {} rows", prompts.len(), times.len())
        }
        let encode = || match reading {
            Some(Reading { texts, size }) => texts.encode(&prompts, size),
            None => Self::texts(blocks),
        };
        let Some((embeddings, rows)) = Self::images(blocks)? else {
            return Ok(theta.forward_under(tape, &noised, &times, encode)?);
        };
        let adapter = adapter.context("pictures without an image adapter")?;
        let encode = || adapter.add(encode()?, &embeddings, &rows);
        Ok(theta.forward_under(tape, &noised, &times, encode)?)
    }

    /// The embeddings of all pictures of some blocks, and the place of each row's own; `None` without any.
    fn images(blocks: &[Noised]) -> Result<Option<(Tensor, Vec<Option<usize>>)>> {
        let all: Vec<&Tensor> = blocks.iter().filter_map(|r| r.image.as_ref()).collect();
        if all.is_empty() {
            return Ok(None);
        }
        let mut places = 0..;
        let place = |r: &Noised| r.image.as_ref().and_then(|_| places.next());
        let rows = blocks.iter().flat_map(|r| vec![r; r.timesteps.len()]);
        let rows = rows.map(place).collect();
        Ok(Some((Tensor::cat(&all, 0)?, rows)))
    }

    /// The mean over C, H and W of (target - prediction)² of every row, `[blocks · B]`, weighted by the row's mask if it has one.
    pub(super) fn mean_squares(blocks: &[Noised], predictions: &Tensor) -> Result<Tensor> {
        let targets: Vec<&Tensor> = blocks.iter().map(|r| &r.target).collect();
        let targets = Tensor::cat(&targets, 0)?;
        if blocks.iter().any(|r| r.mask.is_some()) {
            let ones = |r: &Noised| r.target.narrow(3, 0, 1)?.ones_like();
            let masks = blocks
                .iter()
                .map(|r| r.mask.clone().map_or_else(|| ones(r), Ok));
            let masks = Tensor::cat(&masks.collect::<candle_core::Result<Vec<_>>>()?, 0)?;
            let [predictions, targets] = [predictions, &targets].map(|x| x.broadcast_mul(&masks));
            return Ok(ops::mean_squared_per_sample(&predictions?, &targets?)?);
        }
        Ok(ops::mean_squared_per_sample(predictions, &targets)?)
    }

    pub(super) fn elements(&self) -> Result<usize> {
        Ok(self.target.elem_count() / self.target.dim(0)?)
    }
}

/// Text encoders whose variables are trained.
#[derive(Clone, Copy)]
pub struct Reading<'a> {
    /// The encoders.
    pub texts: &'a Texts,
    /// Side of the pictures in pixels, which SDXL's U-Net takes beside a text.
    pub size: usize,
}
