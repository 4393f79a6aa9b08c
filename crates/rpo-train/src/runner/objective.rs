//! The losses of a batch and their gradients (Eq. 7-9): one batched pass of the trained U-Net, one of the frozen one.

use anyhow::{Result, bail};
use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor};
use rpo_diffusion::{Conditioning, NoiseSchedule, UNet2DConditionModel};
use rpo_nn::{Tape, ops, optim};
use rpo_pref::loss::{self, Term};
use rpo_pref::{Norm, Recipe};

/// Noised latents `[B, h, w, C]` that predict their target under a text.
#[derive(Clone)]
pub struct Rows {
    noised: Tensor,
    target: Tensor,
    timesteps: Vec<usize>,
    text: Conditioning,
}

impl Rows {
    /// `x_t` of latents `x0` at `t` with noise `e`, and what the network should say of it.
    ///
    /// # Errors
    /// Shapes that do not fit; a timestep outside the schedule.
    pub fn new(
        schedule: &NoiseSchedule,
        x0: &Tensor,
        e: &Tensor,
        t: &[usize],
        text: Conditioning,
    ) -> Result<Self> {
        Ok(Self {
            noised: schedule.add_noise(x0, e, t)?,
            target: schedule.target(x0, e, t)?,
            timesteps: t.to_vec(),
            text,
        })
    }

    /// The same latents under another text.
    pub fn under(&self, text: Conditioning) -> Self {
        Self {
            text,
            ..self.clone()
        }
    }

    fn narrow(&self, start: usize, n: usize) -> Result<Self> {
        Ok(Self {
            noised: self.noised.narrow(0, start, n)?,
            target: self.target.narrow(0, start, n)?,
            timesteps: self.timesteps[start..start + n].to_vec(),
            text: self.text.narrow(start, n)?,
        })
    }

    /// ||target - prediction||² of every row of some blocks in one pass: the sum over C, H, W or their mean.
    fn squared_errors(
        blocks: &[&Rows],
        unet: &UNet2DConditionModel,
        norm: Norm,
        tape: Option<&Tape>,
    ) -> Result<Tensor> {
        let cat = |f: fn(&Rows) -> &Tensor| {
            Tensor::cat(&blocks.iter().map(|r| f(r)).collect::<Vec<_>>(), 0)
        };
        let (noised, target) = (cat(|r| &r.noised)?, cat(|r| &r.target)?);
        let text = Conditioning::cat(&blocks.iter().map(|r| &r.text).collect::<Vec<_>>())?;
        let times = blocks.iter().flat_map(|r| r.timesteps.iter());
        let times: Vec<f64> = times.map(|t| *t as f64).collect();
        let prediction = match tape {
            None => unet.forward(&noised, &times, &text)?,
            Some(tape) => unet.forward_on(tape, &noised, &times, &text)?,
        };
        let mean = ops::mean_squared_per_sample(&prediction, &target)?;
        Ok(norm.of_mean_squares(&mean, target.elem_count() / target.dim(0)?)?)
    }
}

/// The rows of a preference: B references, B negatives, B labels.
pub struct PairRows {
    /// References under c_mod; `None` where those of L_sim serve (recipe `official`).
    pub reference: Option<Rows>,
    /// Negatives under c_mod.
    pub generated: Rows,
    /// y, in [0, 1].
    pub labels: Vec<f32>,
}

/// What one step reads: every part has B rows.
pub struct Batch {
    /// References under c: L_sim, and ℓ unless the pair has rows of its own.
    pub sim: Option<Rows>,
    /// L_pref.
    pub pair: Option<PairRows>,
    /// Class pictures: prior preservation.
    pub prior: Option<Rows>,
}

/// The losses of a step.
#[derive(Clone, Debug)]
pub struct Losses {
    /// What is minimised.
    pub total: f64,
    /// L_sim, Eq. 7; 0 where the recipe has none.
    pub l_sim: f64,
    /// L_pref, Eq. 8; 0 where the recipe has none.
    pub l_pref: f64,
    /// ℓ of every pair.
    pub ell: Vec<f32>,
}

impl Batch {
    fn rows(&self) -> usize {
        let some = self
            .sim
            .as_ref()
            .or(self.pair.as_ref().map(|p| &p.generated));
        some.map_or(0, |r| r.timesteps.len())
    }

    fn narrow(&self, start: usize, n: usize) -> Result<Self> {
        let part = |rows: &Option<Rows>| rows.as_ref().map(|r| r.narrow(start, n)).transpose();
        let pair = |p: &PairRows| -> Result<PairRows> {
            Ok(PairRows {
                reference: part(&p.reference)?,
                generated: p.generated.narrow(start, n)?,
                labels: p.labels[start..start + n].to_vec(),
            })
        };
        Ok(Self {
            sim: part(&self.sim)?,
            pair: self.pair.as_ref().map(pair).transpose()?,
            prior: part(&self.prior)?,
        })
    }
}

/// What a recipe minimises.
pub struct Objective<'a> {
    /// Norm, β and the weights of the losses.
    pub recipe: &'a Recipe,
    /// The trained network.
    pub theta: &'a UNet2DConditionModel,
    /// The frozen reference.
    pub base: &'a UNet2DConditionModel,
    /// Whether blocks are computed again in the backward pass.
    pub recompute: bool,
}

impl Objective<'_> {
    /// Losses and gradients of a batch, computed in `parts` equal parts one after the other: memory holds the activations
    /// of one part, the result is that of the whole up to rounding.
    ///
    /// # Errors
    /// A batch that does not divide; tensor errors.
    pub fn gradients(&self, batch: &Batch, parts: usize) -> Result<(Losses, GradStore)> {
        let rows = batch.rows();
        if parts == 0 || rows == 0 || !rows.is_multiple_of(parts) {
            bail!("{rows} pairs cannot be computed in {parts} equal parts")
        }
        if parts == 1 {
            return self.of_part(batch, 1);
        }
        let each = rows / parts;
        let (mut losses, mut grads) = self.of_part(&batch.narrow(0, each)?, parts)?;
        for i in 1..parts {
            let (more, part) = self.of_part(&batch.narrow(i * each, each)?, parts)?;
            optim::add_gradients(&mut grads, &part)?;
            losses.total += more.total;
            losses.l_sim += more.l_sim;
            losses.l_pref += more.l_pref;
            losses.ell.extend(more.ell);
        }
        Ok((losses, grads))
    }

    /// Losses and gradients of one of `parts` parts, each divided by their number.
    fn of_part(&self, batch: &Batch, parts: usize) -> Result<(Losses, GradStore)> {
        let recipe = self.recipe;
        let b = batch.rows();
        // Blocks of b rows each; the variables below are their places.
        let mut blocks: Vec<&Rows> = Vec::new();
        let mut push = |rows| {
            blocks.push(rows);
            blocks.len() - 1
        };
        let sim = batch.sim.as_ref().map(&mut push);
        let pair = match &batch.pair {
            None => None,
            Some(pair) => {
                let Some(reference) = pair.reference.as_ref().map(&mut push).or(sim) else {
                    bail!("a pair without rows of its reference")
                };
                Some((reference, push(&pair.generated), &pair.labels))
            }
        };
        let prior = batch.prior.as_ref().map(&mut push);

        // The frozen model first, without a graph, and on the pair alone: L_sim and the prior have no part in ℓ.
        let base_error = match pair {
            Some((reference, generated, _)) => Some(Rows::squared_errors(
                &[blocks[reference], blocks[generated]],
                self.base,
                recipe.norm,
                None,
            )?),
            None => None,
        };
        let tape = Tape::new(self.recompute)?;
        let error = Rows::squared_errors(&blocks, self.theta, recipe.norm, Some(&tape))?;
        let block = |errors: &Tensor, i: usize| errors.narrow(0, i * b, b);
        let mean = |i: Option<usize>| i.map(|i| loss::l_sim(&block(&error, i)?)).transpose();
        let (l_sim, l_prior) = (mean(sim)?, mean(prior)?);
        let mut ells = Vec::new();
        let l_pref = match (pair, &base_error) {
            (Some((reference, generated, labels)), Some(base_error)) => {
                let ell = loss::ell(
                    &block(base_error, 0)?,
                    &block(&error, reference)?,
                    &block(base_error, 1)?,
                    &block(&error, generated)?,
                )?;
                ells = ell.to_vec1::<f32>()?;
                let labels = Tensor::new(labels.as_slice(), &Device::Cpu)?;
                Some(loss::l_pref(&ell, &labels, recipe.beta)?)
            }
            _ => None,
        };
        let share = 1.0 / parts as f64;
        let weighted = [
            (&l_sim, recipe.l_sim_weight),
            (&l_pref, recipe.l_pref_weight),
            (&l_prior, recipe.prior_weight),
        ];
        let terms: Vec<Term> = weighted
            .into_iter()
            .filter_map(|(loss, weight)| {
                loss.as_ref().map(|loss| Term {
                    loss,
                    weight: weight * share,
                })
            })
            .collect();
        let total = loss::total(&terms)?;
        let number = |loss: &Tensor| -> Result<f64> { Ok(f64::from(loss.to_scalar::<f32>()?)) };
        let shared = |loss: &Option<Tensor>| -> Result<f64> {
            loss.as_ref().map_or(Ok(0.0), |l| Ok(share * number(l)?))
        };
        let losses = Losses {
            total: number(&total)?,
            l_sim: shared(&l_sim)?,
            l_pref: shared(&l_pref)?,
            ell: ells,
        };
        Ok((losses, tape.backward(&total)?))
    }
}
