//! One trajectory: train, score at step 0 and every k steps, stop when every rule has stopped, keep the chosen weights.

use super::draw::Drawer;
use super::events::Events;
use super::held::Held;
use super::network::Network;
use super::objective::{Objective, Reading};
use super::prepare::{TrainingSet, prepare};
use super::rounds::Rounds;
use super::settings;
use super::setup::Setup;
use super::state;
use super::step::Step;
use super::trainable::Trained;
use super::validator::Validator;
use super::variants::Variants;
use super::winners::winners;
use super::{card, checkpoint};
use crate::interrupt;
use crate::memory;
use crate::progress::Progress;
use anyhow::{Context, Result, bail};
use rand::RngCore;
use rpo_data::random;
use rpo_data::subject::Subject;
use rpo_diffusion::UNet2DConditionModel;
use rpo_experiment::plan::Cell;
use rpo_experiment::run::{Folder, Phase, Record, Run, TrainedInfo, validations};
use rpo_experiment::{TrainedPart, TrainingArm};
use rpo_files::AtPath;
use rpo_files::failure::Interrupted;
use rpo_nn::optim::{self, AdamW};
use rpo_reward::select::Validation;
use rpo_reward::{Candidate, Variant};
use std::time::{Duration, Instant};

/// Trains a cell to its end; resumes if an earlier start was interrupted.
///
/// # Errors
/// A non-finite loss, a parameter without gradient, sampling and I/O errors.
pub(super) fn train(setup: &Setup, cell: &Cell, run: &Run, progress: &mut Progress) -> Result<()> {
    let folder = &run.trajectory(cell);
    // Checked before anything is removed.
    let latest = folder.checked().with_context(|| cell.id.clone())?;
    folder.sweep(latest.as_ref())?;
    if latest.is_some_and(|l| l.done) {
        let kept = winners(setup, &validations(&folder.records()?), true)?.0;
        checkpoint::keep(setup, cell, folder, &kept)?;
        card::write(setup, cell, folder)?;
        let done = setup.preparation_cost(cell) + setup.training_cost(cell);
        progress.advance(done, true, &cell.id);
        return Ok(());
    }
    let (arm, subject) = (&setup.arms[cell.arm], &setup.subjects[cell.subject]);
    let trainable = setup.trainable(arm);
    let trained = trainable.start(setup.base(), subject, &mut |tensor, n| {
        let mut stream = random::stream(cell.seed, "lora", &[&subject.name, tensor]);
        (0..n).map(|_| random::unit(&mut stream)).collect()
    })?;
    let training = Training {
        setup,
        cell,
        arm,
        subject,
        folder,
        drawer: setup.drawer(),
        base: checkpoint::network(setup, None)?,
        theta: (trained.unet()).detaching_first_token(arm.recipe.detach_first_token),
        trained,
        objective: arm.recipe.objective(),
        of_rounds: arm.recipe.round_objective(),
    };
    std::fs::create_dir_all(&folder.0).writing(&folder.0)?;
    let set = prepare(setup, &training.drawer, &training.base, cell, progress)?;
    set.save_pictures(folder)?;
    training.run(&set, run, progress)
}

struct Training<'a> {
    setup: &'a Setup,
    cell: &'a Cell,
    arm: &'a TrainingArm,
    subject: &'a Subject,
    folder: &'a Folder,
    drawer: Drawer<'a>,
    base: Network,
    trained: Box<dyn Trained>,
    /// The network of `trained` as steps differentiate it.
    theta: UNet2DConditionModel,
    objective: rpo_pref::terms::Objective,
    of_rounds: rpo_pref::terms::Objective,
}

impl Training<'_> {
    fn run(&self, set: &TrainingSet, run: &Run, progress: &mut Progress) -> Result<()> {
        let limit = self.arm.training.steps;
        let params = self.trained.params();
        self.folder.write_trained(&TrainedInfo {
            parameters: params.vars().iter().map(|(_, v)| v.elem_count()).sum(),
            bytes: 4 * self.setup.stored(self.arm)?,
        })?;
        let mut optimizer = AdamW::new(settings::adamw(&self.arm.training), params.vars())?;
        optimizer.set_starts(|tensor| self.first_step(tensor).saturating_sub(1) as u64);
        let candidates = &self.setup.experiment.candidates;
        let variants = Variants::new(&*self.trained, self.setup.variants(), candidates.ema)?;
        let mut records = Vec::new();
        let mut scored: Vec<Validation> = Vec::new();
        let (mut first, mut trained) = (0, 0);
        let mut held = Held {
            optimizer,
            variants,
            rounds: Rounds::new(self.setup, self.cell),
        };
        match self.folder.latest()? {
            Some(latest) => {
                state::load(self.folder, &latest, params, &mut held.optimizer)?;
                held.variants.load(&self.folder.state(latest.step))?;
                records = self.folder.records()?;
                scored = validations(&records);
                trained = latest.step;
                // Saved before its validation, or after it.
                let due = self.validates(trained)
                    && scored.last().is_none_or(|v| v.candidate.step < trained);
                first = trained + usize::from(!due);
                progress.line(&format!("{}: goes on after step {trained}", self.cell.id));
                let done = self.setup.cost_until(self.cell, latest.step);
                let ahead = match due {
                    true => self.setup.validation_cost(self.cell, trained),
                    false => 0.0,
                };
                let again =
                    held.rounds
                        .resume(trained, self.folder, set, &self.drawer, progress)?;
                progress.advance(done - ahead - again, true, &self.cell.id);
            }
            None => self.folder.cut(0)?,
        }
        let plan = &self.setup.plan;
        let mut events = Events::begin(run, plan, self.cell, &records, progress);
        let mut pending = Vec::new();
        let mut saved = Instant::now();
        let save_after = Duration::try_from_secs_f64(60.0 * self.arm.training.save_minutes);
        let save_after = save_after.ok().filter(|d| !d.is_zero());
        for step in first..=limit {
            if step > trained {
                let before = step - 1;
                let begun = held
                    .rounds
                    .begin(before, &*self.trained, set, &self.drawer, progress);
                if begun.as_ref().is_err_and(|e| e.is::<Interrupted>()) && before > 0 {
                    self.save(&mut pending, before, &held, progress)?;
                    self.tell_saved(before, progress);
                }
                if let Some(record) = begun? {
                    events.tell(&record, progress);
                    pending.push(record);
                }
                let record = progress
                    .timed(Phase::Training, |_| self.step(set, step, &mut held))
                    .with_context(|| format!("{}: step {step}", self.cell.id))?;
                held.variants.step(step)?;
                let note = format!("{} · step {step}/{limit}", self.cell.id);
                let in_round = held.rounds.current().is_some();
                progress.advance(self.setup.step_cost(self.cell, in_round), false, &note);
                events.tell(&record, progress);
                pending.push(record);
            }
            let due = save_after.is_some_and(|after| saved.elapsed() >= after);
            if self.validates(step) {
                events.flush(progress);
                if step > 0 && due {
                    self.save(&mut pending, step, &held, progress)?;
                }
                let new = progress.timed(Phase::Validation, |p| {
                    self.score(set, step, &held.variants, p)
                });
                if new.as_ref().is_err_and(|e| e.is::<Interrupted>()) && step > 0 {
                    self.save(&mut pending, step, &held, progress)?;
                    self.tell_saved(step, progress);
                }
                let before = scored.len();
                scored.extend(new?);
                let told: Vec<Record> = scored[before..].iter().map(record).collect();
                pending.extend(told.iter().cloned());
                let (keep, finished) = winners(self.setup, &scored, step == limit)?;
                for at in (before..scored.len()).filter(|_| step > 0) {
                    let candidate = scored[at].candidate;
                    if keep.contains(&candidate) {
                        held.variants
                            .with(candidate.variant, || self.keep(&scored[..=at]))?;
                    }
                }
                self.folder.append(&std::mem::take(&mut pending))?;
                held.save(self.folder, step, params, finished || step == limit)?;
                // After the state: what is told of a validation never comes twice.
                told.iter().for_each(|record| events.tell(record, progress));
                events.flush(progress);
                self.folder.write_times(&progress.taken())?;
                // Last, so that a replay after a kill finds every checkpoint it may need.
                checkpoint::keep(self.setup, self.cell, self.folder, &keep)?;
                saved = Instant::now();
                if finished && step < limit {
                    progress.skip(
                        self.setup.training_cost(self.cell)
                            - self.setup.cost_until(self.cell, step),
                    );
                    progress.line(&format!(
                        "{}: every rule has stopped at step {step}",
                        self.cell.id
                    ));
                    break;
                }
            } else if interrupt::is_asked() || due {
                self.save(&mut pending, step, &held, progress)?;
                saved = Instant::now();
            }
            if interrupt::is_asked() {
                self.tell_saved(step, progress);
                return Err(Interrupted.into());
            }
        }
        card::write(self.setup, self.cell, self.folder)
    }

    /// Whether the weights after `step` steps are scored.
    fn validates(&self, step: usize) -> bool {
        self.setup.validates(self.cell, step)
    }

    /// Saves the state after a step that is not validated yet, or never.
    fn save(
        &self,
        pending: &mut Vec<Record>,
        step: usize,
        held: &Held,
        progress: &mut Progress,
    ) -> Result<()> {
        self.folder.append(&std::mem::take(pending))?;
        held.save(self.folder, step, self.trained.params(), false)?;
        self.folder.write_times(&progress.taken())
    }

    fn tell_saved(&self, step: usize, progress: &Progress) {
        progress.line(&format!(
            "{}: saved after step {step} of {}; the same command goes on from there",
            self.cell.id, self.arm.training.steps
        ));
    }

    /// One gradient step; clipping by the global norm as the recipe says.
    fn step(&self, set: &TrainingSet, step: usize, held: &mut Held) -> Result<Record> {
        let names = [self.subject.name.as_str(), &step.to_string()];
        let mut rng = random::stream(self.cell.seed, "training", &names);
        let step_of = Step {
            pipeline: &self.setup.pipeline,
            set,
            arm: self.arm,
            size: self.setup.size,
        };
        let own = match held.rounds.current() {
            Some(round) => round.batch(self.arm, &self.setup.pipeline.schedule, &mut rng)?,
            None => None,
        };
        let (batch, terms, base) = match own {
            Some((batch, start)) => (batch, &self.of_rounds, start),
            None => {
                let mut flips = random::stream(self.cell.seed, "flips", &names);
                let mut augment = random::stream(self.cell.seed, "augment", &names);
                let batch = step_of.batch(&mut rng, &mut flips, &mut augment)?;
                (batch, &self.objective, &self.base.unet)
            }
        };
        let objective = Objective {
            terms,
            norm: self.arm.recipe.norm,
            theta: &self.theta,
            reading: self.trained.texts().map(|texts| Reading {
                texts,
                size: self.setup.size as usize,
            }),
            images: self.trained.image_adapter(),
            base,
            recompute: memory::recomputes(self.arm, self.setup.pipeline.unet_params.parameters()),
        };
        let parts = self.arm.training.gradient_accumulation;
        let mut dropout = random::stream(self.cell.seed, "dropout", &names);
        self.trained.begin_step(dropout.next_u64());
        let (losses, grads) = objective.gradients(&batch, parts)?;
        self.trained.end_step();
        let loss = losses.total;
        if !loss.is_finite() {
            bail!(
                "the loss is {loss} ({:?}); what was saved last is kept\n  hint: {}",
                losses.terms,
                self.mend(step)
            );
        }
        let mut vars = self.trained.params().vars();
        vars.retain(|(tensor, _)| self.rate(tensor, step) > 0.0);
        let mut due = vars.clone();
        // The first step of a warm-up moves nothing: what learns only once something else has moved waits for the next.
        let idle = usize::from(self.arm.training.rate(1) == 0.0);
        let waits = |by: usize| by + if by > 1 { idle } else { 0 };
        due.retain(|(tensor, _)| {
            let waited = self.first_step(tensor) - 1;
            waited + waits(self.trained.learns_by(tensor)) == step
        });
        // Captions may lack the new word: a step that draws them alone teaches it nothing.
        let of_word = |tensor: &str| self.part(tensor) == TrainedPart::Token;
        if let Some(texts) = self.trained.texts()
            && due.iter().any(|(tensor, _)| of_word(tensor))
            && !texts.read_words(&batch.prompts())?
        {
            due.retain(|(tensor, _)| !of_word(tensor));
        }
        optim::check_gradients(&due, &grads)?;
        let grad_norm = optim::global_norm(&grads, &vars)?;
        if !grad_norm.is_finite() {
            bail!(
                "the gradient's norm is {grad_norm}\n  hint: {}",
                self.mend(step)
            );
        }
        let clip = self.arm.recipe.clip_grad_norm;
        let scale = clip.map_or(1.0, |max| optim::clip_scale(grad_norm, max));
        held.optimizer.set_lr(self.arm.training.rate(step));
        held.optimizer.set_rates(|tensor| self.rate(tensor, step))?;
        held.optimizer.step(&grads, scale)?;
        self.trained.after_step()?;
        Ok(Record::Step {
            step,
            terms: (losses.terms.into_iter())
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            loss,
            grad_norm,
        })
    }

    /// The part of the model that a tensor belongs to.
    fn part(&self, tensor: &str) -> TrainedPart {
        let own = self.trained.part(tensor).or(self.arm.unet_part());
        own.unwrap_or(TrainedPart::Unet)
    }

    /// The factor on a tensor's learning rate in a step; 0 outside of its part's phase.
    fn rate(&self, tensor: &str, step: usize) -> f64 {
        self.arm.rate(self.part(tensor), step) * self.trained.rate(tensor)
    }

    /// The first step that trains a tensor.
    fn first_step(&self, tensor: &str) -> usize {
        self.arm.first_step(self.part(tensor))
    }

    /// What helps where a step gives what is not finite.
    fn mend(&self, step: usize) -> String {
        match step {
            1 => "no weight was changed before this step: the model's own are damaged, or its activations are beyond the half type (model.dtype = \"f32\")".to_owned(),
            _ => format!("lower training.learning_rate ({})", self.arm.training.learning_rate),
        }
    }

    /// Scores the weights of a step and their variants.
    fn score(
        &self,
        set: &TrainingSet,
        step: usize,
        variants: &Variants,
        progress: &mut Progress,
    ) -> Result<Vec<Validation>> {
        let validator = Validator {
            setup: self.setup,
            cell: self.cell,
            folder: self.folder,
            drawer: &self.drawer,
            trained: &*self.trained,
            features: &set.features,
        };
        let one = |variant: &Variant| {
            let (step, variant) = (step, *variant);
            let candidate = Candidate { step, variant };
            let scores = variants.with(variant, || validator.validate(candidate, progress))?;
            Ok(Validation { candidate, scores })
        };
        variants.at(step).iter().map(one).collect()
    }

    /// Keeps the current weights, those of the last validation in `scored`.
    fn keep(&self, scored: &[Validation]) -> Result<()> {
        checkpoint::save(self.setup, self.cell, &*self.trained, self.folder, scored)
    }
}

fn record(validation: &Validation) -> Record {
    let Validation { candidate, scores } = validation.clone();
    Record::Validation { candidate, scores }
}
