//! Trains the whole U-Net, at a constant rate without limit, or through the decay of a release.

use crate::batch::{Batch, Draws, HeldOut, Loss, Pair};
use crate::data::{Order, Sample, Windows, texts};
use crate::meter::Meter;
use crate::saves::{self, Saves};
use crate::settings::Settings;
use crate::sheet;
use crate::state::{Point, Record, State};
use anyhow::Result;
use rpo_diffusion::{Pipeline, UNet2DConditionModel};
use rpo_files::say;
use rpo_nn::optim::{self, Rate};
use rpo_nn::weights::Params;
use std::path::PathBuf;
use std::time::Instant;

/// Global norm at which gradients are clipped.
const MAX_NORM: f64 = 1.0;

/// Duration and reporting of one start of the training.
pub struct Start {
    /// Duration of this start in minutes.
    pub minutes: f64,
    /// Step at which the run ends, over all starts.
    pub until: Option<u64>,
    /// Minutes between lines of progress, each with a held-out loss.
    pub report_every: f64,
    /// Minutes between saves.
    pub save_every: f64,
    /// Minutes between contact sheets; 0: none.
    pub sheet_every: f64,
}

/// A run in memory.
pub struct Run {
    start: Start,
    lock: Saves,
    pipeline: Pipeline,
    state: State,
    unet: UNet2DConditionModel,
    averaged: UNet2DConditionModel,
    held_out: HeldOut,
    weights_of_t: Option<Vec<f64>>,
    rate: Rate,
}

impl Run {
    /// The run in the locked state folder: resumed from its newest save, else begun with `first`.
    ///
    /// # Errors
    /// If settings are out of range or differ from those of the state folder, or a save cannot be read.
    pub fn open(
        start: Start,
        settings: Settings,
        lock: Saves,
        pipeline: Pipeline,
        first: &Params,
    ) -> Result<Self> {
        settings.check()?;
        let build = |p: &Params| pipeline.unet(p).map(|_| ()).map_err(anyhow::Error::from);
        let mut state = State::new(settings.clone(), first, build)?;
        if let Some(save) = saves::newest(lock.folder())? {
            settings.check_same(&Record::read(&save)?.settings, lock.folder())?;
            state.load(&save)?;
            say!("resumes from {}", save.display());
        }
        Ok(Self {
            unet: pipeline.unet(&state.weights)?,
            averaged: pipeline.unet(&state.averages.detached())?,
            held_out: HeldOut::new(&pipeline, settings.looks)?,
            weights_of_t: (settings.min_snr > 0.)
                .then(|| pipeline.schedule.min_snr_weights(settings.min_snr)),
            rate: Rate {
                peak: settings.learning_rate,
                warmup: settings.warmup,
                decay: settings.decay,
            },
            state,
            pipeline,
            lock,
            start,
        })
    }

    /// Trains until the time is up or the last step is done, then saves.
    ///
    /// # Errors
    /// Non-finite losses or gradients; I/O errors.
    pub fn train(&mut self) -> Result<()> {
        let order = Order {
            seed: self.state.record.settings.seed,
            window: self.state.record.settings.window,
            batch: self.state.record.settings.batch,
            uses: self.state.record.settings.uses,
        };
        let (first, looks) = (self.state.record.step, self.state.record.settings.looks);
        let mut windows = Windows::from(order, looks, order.of(first).0);
        let empty = texts(&self.pipeline, &[String::new()])?.swap_remove(0);
        let held_out = self.held_out.loss(&self.averaged)?;
        say!("step {first}, held-out loss of the averages {held_out}");
        let begin = Instant::now();
        let mut meter = Meter::new(first);
        let (mut saved, mut drawn) = (0., 0.);
        loop {
            let minutes = begin.elapsed().as_secs_f64() / 60.;
            let step = self.state.record.step;
            let over = minutes >= self.start.minutes || self.start.until.is_some_and(|n| step >= n);
            if over || meter.minutes() > self.start.report_every {
                self.report(&mut meter, minutes)?;
            }
            if over || minutes - saved >= self.start.save_every {
                self.state.save(&self.lock, &self.config())?;
                saved = minutes;
            }
            if over {
                return Ok(());
            }
            if self.start.sheet_every > 0. && minutes - drawn >= self.start.sheet_every {
                let path = format!("sheets/step-{step:09}.png");
                sheet::draw(
                    &self.pipeline,
                    &self.averaged,
                    &self.lock.folder().join(path),
                )?;
                drawn = minutes;
            }
            let (window, chosen) = order.of(step);
            let lap = Instant::now();
            let samples = windows.samples(&self.pipeline, window)?;
            let batch = self.batch(samples, &chosen, &empty)?;
            meter.add_data(lap.elapsed());
            self.step(&batch, &mut meter)?;
            self.state.record.seconds += lap.elapsed().as_secs_f64();
        }
    }

    fn batch(&self, samples: &[Sample], chosen: &[usize], empty: &[f32]) -> Result<Batch> {
        let draws = Draws::of(
            self.state.record.settings.seed,
            self.state.record.step,
            chosen.len(),
            &self.pipeline.schedule,
            self.pipeline.latent_dims(),
        );
        let pairs: Vec<Pair> = chosen
            .iter()
            .zip(&draws.dropped)
            .map(|(&i, &dropped)| {
                let text = if dropped { empty } else { &samples[i].text };
                (&samples[i].latent[..], text)
            })
            .collect();
        Batch::new(&self.pipeline, &pairs, draws.t, draws.noise)
    }

    fn step(&mut self, batch: &Batch, meter: &mut Meter) -> Result<()> {
        let step = self.state.record.step;
        let (errors, grads) = batch.gradients(&self.unet, self.weights_of_t.as_deref())?;
        let vars = self.state.weights.vars();
        if step == 0 {
            optim::check_gradients(&vars, &grads)?;
        }
        let norm = optim::global_norm(&grads, &vars)?;
        if !norm.is_finite() {
            anyhow::bail!(
                "step {step}: the gradient is not finite\n  hint: the last save is whole; start a new --state with --from its averages and a lower --learning-rate"
            )
        }
        self.state.optimizer.set_lr(self.rate.at(step));
        self.state
            .optimizer
            .step(&grads, optim::clip_scale(norm, MAX_NORM))?;
        self.state.ema.step()?;
        self.state.record.step += 1;
        meter.take(&errors, norm);
        Ok(())
    }

    fn report(&mut self, meter: &mut Meter, minutes: f64) -> Result<()> {
        let Some(training) = meter.mean() else {
            return Ok(());
        };
        let held_out = self.held_out.loss(&self.averaged)?;
        let record = &mut self.state.record;
        let pace = meter.steps_per_minute(record.step);
        let left = self.start.until.map_or(f64::INFINITY, |until| {
            until.saturating_sub(record.step) as f64 / pace
        });
        let batch = record.settings.batch;
        let samples = record.step * batch as u64;
        say!(
            "step {} samples {samples} {:.1}/s (data {:.0} %) {:.0} min left, loss {training:.4} norm {:.2} rate {:.1e}, held-out {held_out}",
            record.step,
            pace / 60. * batch as f64,
            meter.data_share() * 100.,
            left.min(self.start.minutes - minutes),
            meter.norm(),
            self.rate.at(record.step),
        );
        record.curve.push(Point {
            step: record.step,
            samples,
            seconds: record.seconds,
            training,
            held_out,
        });
        *meter = Meter::new(record.step);
        Ok(())
    }

    fn config(&self) -> PathBuf {
        self.pipeline.folder.join("unet/config.json")
    }

    /// Held-out losses of the weights and of their averages.
    ///
    /// # Errors
    /// Those of the network.
    pub fn losses(&self) -> Result<(Loss, Loss)> {
        Ok((
            self.held_out.loss(&self.unet)?,
            self.held_out.loss(&self.averaged)?,
        ))
    }

    /// The state.
    pub fn state(&self) -> &State {
        &self.state
    }
}
