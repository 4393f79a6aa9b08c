//! Trains the whole U-Net, at a constant rate for as long as it is let, or through the decay of a release.

use crate::batch::{Batch, Draws, HeldOut};
use crate::data::{Order, Sample, Windows, texts};
use crate::failure::BadInput;
use crate::sheet;
use crate::state::{self, Point, Settings, State};
use anyhow::{Context, Result};
use rpo_diffusion::{Pipeline, UNet2DConditionModel, load_unet};
use rpo_nn::optim::{self, Rate};
use rpo_nn::weights::Params;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Where gradients are cut.
const MAX_NORM: f64 = 1.0;

/// How a start of the training goes.
pub struct Start {
    /// A diffusers folder: VAE, text encoder, schedule, U-Net configuration.
    pub model: PathBuf,
    /// U-Net folder with the first weights.
    pub from: PathBuf,
    /// The state folder.
    pub state: PathBuf,
    /// What the run means.
    pub settings: Settings,
    /// Minutes of this start.
    pub minutes: f64,
    /// Steps after which the run ends, all starts together; 0: none.
    pub until: u64,
    /// Minutes between lines of progress, each with a held-out loss.
    pub report_every: f64,
    /// Minutes between saves.
    pub save_every: f64,
    /// Minutes between sheets of pictures; 0: none.
    pub sheet_every: f64,
}

/// The parts of a run in memory.
pub struct Run {
    start: Start,
    pipeline: Pipeline,
    state: State,
    unet: UNet2DConditionModel,
    averaged: UNet2DConditionModel,
    held_out: HeldOut,
    weights_of_t: Option<Vec<f64>>,
    rate: Rate,
}

/// The base a run begins with: the pipeline, its U-Net's first weights, and a hash of all that the run's samples and weights
/// depend on.
///
/// # Errors
/// Folders that cannot be read, or whose U-Net has another configuration.
pub fn base(model: &Path, from: &Path) -> Result<(Pipeline, Params, String)> {
    let pipeline = Pipeline::load(model)?;
    let (_, start) = load_unet(from, None)?;
    if start.shapes() != pipeline.unet_params.shapes() {
        return Err(BadInput::new(format!(
            "{}: other tensors than {}\n  hint: --from takes weights for the model's own unet/config.json",
            from.display(),
            model.join("unet").display()
        ))
        .into());
    }
    let mut hasher = blake3::Hasher::new();
    for part in [
        from.to_owned(),
        model.join("vae"),
        model.join("text_encoder"),
        model.join("tokenizer"),
        model.join("scheduler"),
    ] {
        let mut files: Vec<PathBuf> = fs::read_dir(&part)
            .with_context(|| part.display().to_string())?
            .flatten()
            .map(|e| e.path())
            .filter(|p| p.is_file())
            .collect();
        files.sort();
        for file in files {
            hasher.update(&fs::read(&file).with_context(|| file.display().to_string())?);
        }
    }
    Ok((pipeline, start, hasher.finalize().to_hex()[..16].to_owned()))
}

impl Run {
    /// Loads the model and, if there is one, the newest save in the state folder.
    ///
    /// # Errors
    /// Folders that cannot be read; a state folder of another run.
    pub fn open(start: Start) -> Result<Self> {
        let (pipeline, first, _) = base(&start.model, &start.from)?;
        let settings = &start.settings;
        if settings.batch == 0
            || !settings.window.is_multiple_of(settings.batch)
            || settings.uses == 0
        {
            return Err(BadInput::new(format!(
                "--window {}, --batch {}, --uses {}: the batch must divide the window, and a picture be used at least once",
                settings.window, settings.batch, settings.uses
            ))
            .into());
        }
        let build = |p: &Params| pipeline.unet(p).map(|_| ()).map_err(anyhow::Error::from);
        let mut state = State::new(settings.clone(), &first, build)?;
        if let Some(save) = state::newest(&start.state) {
            state::check_same(&start.state, &state::read_record(&save)?.settings, settings)?;
            state.load(&save)?;
            println!("resumes from {}", save.display());
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
            start,
        })
    }

    /// Trains until the time is up or the last step is made, and saves.
    ///
    /// # Errors
    /// Losses or gradients that are not finite; I/O errors.
    pub fn train(&mut self) -> Result<()> {
        let order = Order {
            seed: self.start.settings.seed,
            window: self.start.settings.window,
            batch: self.start.settings.batch,
            uses: self.start.settings.uses,
        };
        let (first, looks) = (self.state.record.step, self.start.settings.looks);
        let mut windows = Windows::from(order, looks, order.of(first).0);
        let empty = texts(&self.pipeline, &[String::new()])?.swap_remove(0);
        let held_out = self.held_out.loss(&self.averaged)?;
        println!("step {first}, held-out loss of the averages {held_out}");
        let begin = Instant::now();
        let mut meter = Meter::new(first);
        let (mut saved, mut drawn) = (0., 0.);
        loop {
            let minutes = begin.elapsed().as_secs_f64() / 60.;
            let step = self.state.record.step;
            let over =
                minutes >= self.start.minutes || self.start.until > 0 && step >= self.start.until;
            if meter.since.elapsed().as_secs_f64() > self.start.report_every * 60. || over {
                self.report(&mut meter, minutes)?;
            }
            if over || minutes - saved >= self.start.save_every {
                self.state.save(&self.start.state)?;
                saved = minutes;
            }
            if over {
                return Ok(());
            }
            if self.start.sheet_every > 0. && minutes - drawn >= self.start.sheet_every {
                let path = format!("sheets/step-{step:09}.png");
                sheet::draw(&self.pipeline, &self.averaged, &self.start.state.join(path))?;
                drawn = minutes;
            }
            let (window, chosen) = order.of(step);
            let lap = Instant::now();
            let samples = windows.samples(&self.pipeline, window)?;
            let batch = self.batch(samples, &chosen, &empty)?;
            meter.data += lap.elapsed().as_secs_f64();
            self.step(&batch, &mut meter)?;
            self.state.record.seconds += lap.elapsed().as_secs_f64();
        }
    }

    fn batch(&self, samples: &[Sample], chosen: &[usize], empty: &[f32]) -> Result<Batch> {
        let draws = Draws::of(
            self.start.settings.seed,
            self.state.record.step,
            chosen.len(),
            &self.pipeline.schedule,
            self.pipeline.latent_dims(),
        );
        let pairs: Vec<(&[f32], &[f32])> = chosen
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
                "step {step}: the gradient is not finite\n  hint: the last save is whole; start a new --state from it with a lower --learning-rate"
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
        let record = &mut self.state.record;
        let held_out = self.held_out.loss(&self.averaged)?;
        let samples = record.step * self.start.settings.batch as u64;
        let left = match self.start.until {
            0 => self.start.minutes - minutes,
            until => {
                let rate = meter.steps_per_minute(record.step);
                ((until - record.step) as f64 / rate).min(self.start.minutes - minutes)
            }
        };
        let Some(training) = meter.mean() else {
            return Ok(());
        };
        println!(
            "step {} samples {samples} {:.1}/s (data {:.0} %) {left:.0} min left, loss {training:.4} norm {:.2} rate {:.1e}, held-out {held_out}",
            record.step,
            meter.steps_per_minute(record.step) / 60. * self.start.settings.batch as f64,
            meter.data_share() * 100.,
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

    /// Held-out loss of the weights themselves and of their averages.
    ///
    /// # Errors
    /// Those of the network.
    pub fn losses(&self) -> Result<(crate::batch::Loss, crate::batch::Loss)> {
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

/// What happened since the last line.
struct Meter {
    since: Instant,
    step: u64,
    sum: f64,
    count: usize,
    norms: f64,
    steps: usize,
    /// Seconds spent on windows and batches.
    data: f64,
}

impl Meter {
    fn new(step: u64) -> Self {
        Self {
            since: Instant::now(),
            step,
            sum: 0.,
            count: 0,
            norms: 0.,
            steps: 0,
            data: 0.,
        }
    }

    fn take(&mut self, errors: &[f32], norm: f64) {
        self.sum += errors.iter().map(|&e| f64::from(e)).sum::<f64>();
        self.count += errors.len();
        self.norms += norm;
        self.steps += 1;
    }

    fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }

    fn norm(&self) -> f64 {
        self.norms / self.steps.max(1) as f64
    }

    fn data_share(&self) -> f64 {
        self.data / self.since.elapsed().as_secs_f64().max(1e-9)
    }

    fn steps_per_minute(&self, step: u64) -> f64 {
        (step - self.step) as f64 / (self.since.elapsed().as_secs_f64() / 60.).max(1e-9)
    }
}
