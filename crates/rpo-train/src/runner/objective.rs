//! The losses of a batch and their gradients (Eq. 7-9): one batched pass of the trained U-Net, one of the frozen one.

use super::prompted::Prompted;
use anyhow::{Context, Result, bail};
use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor};
use rpo_diffusion::{Conditioning, NoiseSchedule, Texts, UNet2DConditionModel};
use rpo_nn::{Tape, ops, optim};
use rpo_pref::Norm;
use rpo_pref::terms::{self, Errors, Network, Rows};
use std::collections::{BTreeMap, BTreeSet};

/// Noised latents `[B, h, w, C]`, their text, and the target of the prediction.
#[derive(Clone)]
pub struct Noised {
    noised: Tensor,
    target: Tensor,
    timesteps: Vec<usize>,
    text: Prompted,
    /// √(m / mean of m) of a mask m, `[B, h, w, 1]`: of prediction and target multiplied by it, the mean of the squared differences is
    /// that weighted by m.
    mask: Option<Tensor>,
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
        })
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

    /// The prompt of every row; none where only their conditioning is known.
    pub fn prompts(&self) -> &[String] {
        &self.text.prompts
    }

    /// The timestep of every row.
    pub fn timesteps(&self) -> &[usize] {
        &self.timesteps
    }

    /// The same latents under another text, without their mask, which is of L_sim.
    pub fn under(&self, text: Prompted) -> Self {
        Self {
            text,
            mask: None,
            ..self.clone()
        }
    }

    fn narrow(&self, start: usize, n: usize) -> Result<Self> {
        Ok(Self {
            noised: self.noised.narrow(0, start, n)?,
            target: self.target.narrow(0, start, n)?,
            timesteps: self.timesteps[start..start + n].to_vec(),
            text: self.text.narrow(start, n)?,
            mask: (self.mask.as_ref())
                .map(|mask| mask.narrow(0, start, n))
                .transpose()?,
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
    fn predictions(blocks: &[Noised], unet: &UNet2DConditionModel) -> Result<Tensor> {
        let (noised, times) = Self::inputs(blocks)?;
        Ok(unet.forward(&noised, &times, &Self::texts(blocks)?)?)
    }

    /// As [`Self::predictions`] on a tape, under the text encoders of the trained network where it has some.
    fn trained_predictions(
        blocks: &[Noised],
        unet: &UNet2DConditionModel,
        reading: Option<Reading>,
        tape: &Tape,
    ) -> Result<Tensor> {
        let (noised, times) = Self::inputs(blocks)?;
        let Some(Reading { texts, size }) = reading else {
            let texts = Self::texts(blocks)?;
            return Ok(unet.forward_on(tape, &noised, &times, &texts)?);
        };
        let prompts = blocks.iter().flat_map(|r| &r.text.prompts);
        let prompts: Vec<&String> = prompts.collect();
        if prompts.len() != times.len() {
            bail!("{} prompts for {} rows", prompts.len(), times.len())
        }
        let encode = || texts.encode(&prompts, size);
        Ok(unet.forward_under(tape, &noised, &times, encode)?)
    }

    /// The mean over C, H and W of (target - prediction)² of every row, `[blocks · B]`, weighted by the row's mask if it has one.
    fn mean_squares(blocks: &[Noised], predictions: &Tensor) -> Result<Tensor> {
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

    fn elements(&self) -> Result<usize> {
        Ok(self.target.elem_count() / self.target.dim(0)?)
    }
}

/// Inputs of one step: every part has B rows.
#[derive(Default)]
pub struct Batch {
    /// By kind: at least those that the objective reads.
    pub rows: BTreeMap<Rows, Noised>,
    /// Weights of the samples of some rows, as [`Errors::weigh`] takes them.
    pub weights: BTreeMap<Rows, Vec<f64>>,
    /// y of every pair, in [0, 1]; none without a preference loss.
    pub labels: Vec<f64>,
}

/// The losses of a step.
#[derive(Clone, Debug)]
pub struct Losses {
    /// What is minimised.
    pub total: f64,
    /// Its terms by name, before their weights in the total: `sim` (Eq. 7, with masks and min-SNR weights where the recipe has them), `pref`
    /// (Eq. 8), `prior`, `preservation`, `consistency`.
    pub terms: BTreeMap<&'static str, f64>,
    /// The errors that the terms are computed from, one for each part of the batch.
    pub errors: Vec<Errors>,
}

impl Batch {
    /// B.
    fn len(&self) -> usize {
        self.rows.values().next().map_or(0, |r| r.timesteps.len())
    }

    fn narrow(&self, start: usize, n: usize) -> Result<Self> {
        let rows = self.rows.iter();
        let rows = rows.map(|(what, r)| Ok((*what, r.narrow(start, n)?)));
        let labels = self.labels.get(start..start + n);
        let weights = self.weights.iter();
        let weights = weights.map(|(what, w)| (*what, w[start..start + n].to_vec()));
        Ok(Self {
            weights: weights.collect(),
            rows: rows.collect::<Result<_>>()?,
            labels: labels.unwrap_or_default().to_vec(),
        })
    }

    /// Checks that every part has B rows.
    ///
    /// # Errors
    /// With the part that does not.
    pub fn check(&self) -> Result<()> {
        let b = self.len();
        for (what, rows) in &self.rows {
            let n = rows.timesteps.len();
            if n != b {
                bail!("{what:?} has {n} rows where another part has {b}")
            }
        }
        if let Some((what, weights)) = self.weights.iter().find(|(_, w)| w.len() != b) {
            bail!("{} weights for {b} rows of {what:?}", weights.len())
        }
        if !self.labels.is_empty() && self.labels.len() != b {
            bail!("{} labels for {b} pairs", self.labels.len())
        }
        Ok(())
    }

    /// The rows that a network predicts.
    fn blocks(&self, wanted: &BTreeSet<Rows>) -> Result<Vec<Noised>> {
        let of = |rows| self.rows.get(rows).with_context(|| format!("no {rows:?}"));
        wanted.iter().map(|rows| of(rows).cloned()).collect()
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

/// What is minimised, and the networks involved.
pub struct Objective<'a> {
    /// The terms.
    pub terms: &'a terms::Objective,
    /// How the squared errors are normalised.
    pub norm: Norm,
    /// The trained network.
    pub theta: &'a UNet2DConditionModel,
    /// Its text encoders, where they are trained too.
    pub reading: Option<Reading<'a>>,
    /// The frozen reference.
    pub base: &'a UNet2DConditionModel,
    /// Whether blocks are recomputed in the backward pass.
    pub recompute: bool,
}

/// Errors if the base, which no step changes, predicts what is not finite: `squares` are its errors, block by block.
fn base_is_finite(squares: &Tensor, blocks: &BTreeSet<Rows>, batch: &Batch) -> Result<()> {
    let squares = squares.to_vec1::<f32>()?;
    for (rows, of_rows) in blocks.iter().zip(squares.chunks(batch.len())) {
        if let Some(i) = of_rows.iter().position(|error| !error.is_finite()) {
            bail!(
                "the base U-Net's prediction is not finite at timestep {} (error {}, {rows:?})\n  hint: its weights are damaged, or its activations are beyond the half type: model.dtype = \"f32\"",
                batch.rows[rows].timesteps[i],
                of_rows[i]
            )
        }
    }
    Ok(())
}

impl Objective<'_> {
    /// Losses and gradients of a batch, computed in `parts` equal parts one after the other: memory holds the activations
    /// of one part, the result is that of the whole up to rounding.
    ///
    /// # Errors
    /// If the batch is not divisible, or lacks rows that a term reads; if the base predicts what is not finite; tensor errors.
    pub fn gradients(&self, batch: &Batch, parts: usize) -> Result<(Losses, GradStore)> {
        let rows = batch.len();
        if parts == 0 || rows == 0 || !rows.is_multiple_of(parts) {
            bail!("{rows} pairs cannot be computed in {parts} equal parts")
        }
        if parts == 1 {
            return self.of_part(batch, 1.0);
        }
        let (each, share) = (rows / parts, 1.0 / parts as f64);
        let (mut losses, mut grads) = self.of_part(&batch.narrow(0, each)?, share)?;
        for i in 1..parts {
            let (more, part) = self.of_part(&batch.narrow(i * each, each)?, share)?;
            optim::add_gradients(&mut grads, &part)?;
            losses.total += more.total;
            for (name, value) in more.terms {
                *losses.terms.entry(name).or_default() += value;
            }
            losses.errors.extend(more.errors);
        }
        Ok((losses, grads))
    }

    /// Losses and gradients of one part, each multiplied by its `share` of the batch.
    fn of_part(&self, batch: &Batch, share: f64) -> Result<(Losses, GradStore)> {
        batch.check()?;
        let mut errors = Errors::new(batch.labels.clone());
        for (rows, weights) in &batch.weights {
            errors.weigh(*rows, weights.clone());
        }
        let trained = self.terms.rows(Network::Trained);
        let mut blocks = batch.blocks(&trained)?;
        // The frozen model first, without a graph.
        let frozen = self.terms.rows(Network::Frozen);
        if !frozen.is_empty() {
            let of_base = batch.blocks(&frozen)?;
            let predictions = Noised::predictions(&of_base, self.base)?;
            let squares = Noised::mean_squares(&of_base, &predictions)?;
            base_is_finite(&squares, &frozen, batch)?;
            self.insert(&mut errors, Network::Frozen, &frozen, &squares, batch)?;
            let place = |rows: &BTreeSet<Rows>| rows.iter().position(|r| *r == Rows::Plain);
            if let (Some(from), Some(to)) = (place(&frozen), place(&trained)) {
                let rows = batch.len();
                blocks[to].target = predictions.narrow(0, from * rows, rows)?.contiguous()?;
            }
        }
        let tape = Tape::new(self.recompute)?;
        let predictions = Noised::trained_predictions(&blocks, self.theta, self.reading, &tape)?;
        let squares = Noised::mean_squares(&blocks, &predictions)?;
        self.insert(&mut errors, Network::Trained, &trained, &squares, batch)?;
        let sum = self.terms.sum(&errors, share);
        // The backward pass starts from the derivatives: they are the gradient of this product.
        let mut slopes = Vec::with_capacity(trained.len() * batch.len());
        for (rows, block) in trained.iter().zip(&blocks) {
            let scale = self.norm.scale(block.elements()?);
            let of_rows = sum.slopes.get(rows).context("rows that no term reads")?;
            slopes.extend(of_rows.iter().map(|slope| (slope * scale) as f32));
        }
        let slopes = Tensor::new(slopes, &Device::Cpu)?;
        let grads = tape.backward(&(squares * slopes)?.sum_all()?)?;
        let losses = Losses {
            total: sum.total,
            terms: sum.terms,
            errors: vec![errors],
        };
        Ok((losses, grads))
    }

    /// Splits the errors of a pass into blocks.
    fn insert(
        &self,
        errors: &mut Errors,
        network: Network,
        rows: &BTreeSet<Rows>,
        squares: &Tensor,
        batch: &Batch,
    ) -> Result<()> {
        let squares = squares.to_vec1::<f32>()?;
        for (rows, of_rows) in rows.iter().zip(squares.chunks(batch.len())) {
            let scale = self.norm.scale(batch.rows[rows].elements()?);
            let all = of_rows.iter().map(|e| f64::from(*e) * scale);
            errors.insert(network, *rows, all.collect());
        }
        Ok(())
    }
}
