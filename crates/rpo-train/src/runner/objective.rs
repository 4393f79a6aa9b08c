//! The losses of a batch and their gradients (Eq. 7-9): one batched pass of the trained U-Net, one of the frozen one.

use super::contrast::Contrast;
pub use super::noised::{Noised, Reading};
use anyhow::{Context, Result, bail};
use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor};
use rpo_diffusion::{ImageAdapter, UNet2DConditionModel};
use rpo_nn::{Tape, optim};
use rpo_pref::Norm;
use rpo_pref::terms::{self, Errors, Network, Rows};
use std::collections::{BTreeMap, BTreeSet};

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
    /// (Eq. 8), `prior`, `preservation`, `consistency`, `weak_denoising`, `contrastive`.
    pub terms: BTreeMap<&'static str, f64>,
    /// The errors that the terms are computed from, one for each part of the batch.
    pub errors: Vec<Errors>,
}

impl Batch {
    /// B.
    fn len(&self) -> usize {
        self.rows.values().next().map_or(0, |r| r.timesteps.len())
    }

    /// The prompts of all rows.
    pub fn prompts(&self) -> Vec<&str> {
        let rows = self.rows.values().flat_map(Noised::prompts);
        rows.map(String::as_str).collect()
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
    /// What adds the references' pictures to their texts, where it is trained too.
    pub images: Option<&'a ImageAdapter>,
    /// The frozen reference.
    pub base: &'a UNet2DConditionModel,
    /// Whether blocks are recomputed in the backward pass.
    pub recompute: bool,
}

/// Errors if the frozen network, the base or that of a round's start, predicts what is not finite: `squares` are its errors, block by block.
fn base_is_finite(squares: &Tensor, blocks: &BTreeSet<Rows>, batch: &Batch) -> Result<()> {
    let squares = squares.to_vec1::<f32>()?;
    for (rows, of_rows) in blocks.iter().zip(squares.chunks(batch.len())) {
        if let Some(i) = of_rows.iter().position(|error| !error.is_finite()) {
            bail!(
                "the frozen U-Net's prediction is not finite at timestep {} (error {}, {rows:?})\n  hint: the base's weights are damaged, or its activations are beyond the half type: model.dtype = \"f32\"; in a round it is the model at its start: lower training.learning_rate",
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
        let (reading, images) = (self.reading, self.images);
        let predictions = Noised::trained_predictions(&blocks, self.theta, reading, images, &tape)?;
        let squares = Noised::mean_squares(&blocks, &predictions)?;
        self.insert(&mut errors, Network::Trained, &trained, &squares, batch)?;
        let contrast = self.contrast(batch, &tape)?;
        errors.cosines = contrast.as_ref().map_or(Vec::new(), Contrast::values);
        let sum = self.terms.sum(&errors, share);
        // The backward pass starts from the derivatives: they are the gradient of this product.
        let mut slopes = Vec::with_capacity(trained.len() * batch.len());
        for (rows, block) in trained.iter().zip(&blocks) {
            let scale = self.norm.scale(block.elements()?);
            let of_rows = sum.slopes.get(rows).context("rows that no term reads")?;
            slopes.extend(of_rows.iter().map(|slope| (slope * scale) as f32));
        }
        let slopes = Tensor::new(slopes, &Device::Cpu)?;
        let mut start = (squares * slopes)?.sum_all()?;
        if let Some(contrast) = contrast {
            start = (start + contrast.start(&sum.cosine_slopes)?)?;
        }
        let grads = tape.backward(&start)?;
        let losses = Losses {
            total: sum.total,
            terms: sum.terms,
            errors: vec![errors],
        };
        Ok((losses, grads))
    }

    /// The cosines of the references' texts and what the image adapter adds to them, if a term reads them.
    fn contrast(&self, batch: &Batch, tape: &Tape) -> Result<Option<Contrast>> {
        if !self.terms.reads_cosines() {
            return Ok(None);
        }
        let adapter = self.images.context("no image adapter")?;
        let references = batch.rows.get(&Rows::Reference).context("no references")?;
        let embeddings = references.image.as_ref().context("no pictures")?;
        let text = &references.text.text.hidden_states;
        Contrast::new(adapter, embeddings, text, tape).map(Some)
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
