//! `rpo-train generate`: pictures from a checkpoint of a run, from a LoRA file, or from the base model.

mod files;
mod parameters;
mod sampling;

use super::checkpoint::{Checkpoint, CheckpointArgs};
use super::numbers::finite;
use super::sheet::{self, Sheet};
use crate::device;
use crate::progress::Progress;
use crate::runner::checkpoint as kept;
use crate::runner::draw::Request;
use crate::runner::settings;
use crate::runner::trainable::load_lora;
use crate::texts;
use anyhow::Result;
use clap::Args;
use image::RgbImage;
use parameters::Parameters;
use rpo_data::picture::png_bytes;
use rpo_data::prompts::fill;
use rpo_diffusion::textual_inversion;
use rpo_files::failure::{BadInput, OrBadInput};
use rpo_files::{destination, say, tell};
use rpo_reward::Candidate;
use sampling::SamplingArgs;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Most pictures per prompt in one call.
const MOST: i64 = 100_000;

/// Arguments of `generate`.
#[derive(Args)]
pub(super) struct GenerateArgs {
    #[command(flatten)]
    checkpoint: CheckpointArgs,
    /// LoRA file to apply to the base model, instead of a checkpoint of the run
    #[arg(long, conflicts_with_all = ["step", "rule", "lambda"])]
    lora: Option<PathBuf>,
    /// Scale of the LoRA, from --lora or from the checkpoint; several, such as 0.5,0.75,1, draw each picture with each
    #[arg(long, value_name = "SCALE", default_value = "1", value_delimiter = ',', allow_negative_numbers = true, value_parser = finite)]
    lora_scale: Vec<f64>,
    /// Embedding file of textual inversion, or LoRA file with bundled ones, whose words prompts may hold; may be given several times
    #[arg(long, value_name = "FILE")]
    embedding: Vec<PathBuf>,
    /// Prompt; `{}` stands for token and class; may be given several times [default: the arm's recipe.instance_prompt]
    #[arg(short, long = "prompt", value_name = "PROMPT")]
    prompts: Vec<String>,
    /// Pictures per prompt
    #[arg(short, long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=MOST))]
    n: u32,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Folder for the pictures; what is there is never overwritten
    #[arg(long, default_value = "generated")]
    out: PathBuf,
    /// Also draw one contact sheet of all
    #[arg(long)]
    sheet: bool,
}

/// Draws the pictures and prints their paths.
pub(super) fn generate(args: &GenerateArgs) -> Result<()> {
    // Checked before minutes are spent on drawing.
    destination::folder_of_results("--out", &args.out)?;
    let mut checkpoint = args.checkpoint.find(args.lora.is_some())?;
    args.sampling
        .apply(&mut checkpoint.setup, checkpoint.cell.arm)?;
    let model = &checkpoint.setup.experiment.model;
    let chosen = device::open(&model.device, &model.dtype).or_else(|e| {
        tell!("drawing on the CPU: {e}");
        device::open("cpu", "auto")
    })?;
    checkpoint.setup = checkpoint.setup.at(chosen)?;
    let arm = &checkpoint.setup.arms[checkpoint.cell.arm];
    let scales = distinct(&args.lora_scale);
    if scales != [1.0] && args.lora.is_none() && arm.lora.is_none() {
        return Err(BadInput::new(format!(
            "--lora-scale: `{}` trained {}, so there is no LoRA to scale\n  hint: leave it away, or give --lora",
            checkpoint.cell.id,
            arm.what()
        )));
    }
    let each = args.n as usize;
    let (columns, rows) = match scales.len() {
        1 => (each, args.prompts.len().max(1)),
        n => (n, args.prompts.len().max(1) * each),
    };
    if args.sheet && !sheet::fits(columns, rows) {
        return Err(BadInput::new(format!(
            "--sheet: {columns} x {rows} pictures do not fit on one sheet\n  hint: fewer prompts or pictures, or leave it away"
        )));
    }
    let requests = args.requests(&checkpoint)?;
    let drawn = args.draw(&checkpoint, &requests, &scales)?;
    args.write(&checkpoint, &requests, &drawn)
}

/// The pictures of all requests with one scale.
struct Drawn {
    /// The checkpoint.
    step: Candidate,
    /// `None`: the base model.
    scale: Option<f64>,
    /// Hash of the U-Net's weights.
    weights: String,
    pictures: Vec<RgbImage>,
}

impl GenerateArgs {
    fn requests(&self, checkpoint: &Checkpoint) -> Result<Vec<Request>> {
        let setup = &checkpoint.setup;
        let subject = &setup.subjects[checkpoint.cell.subject];
        let usual = &setup.arms[checkpoint.cell.arm].recipe.instance_prompt.0;
        let templates = match self.prompts.is_empty() {
            true => std::slice::from_ref(usual),
            false => &self.prompts[..],
        };
        let mut requests = Vec::with_capacity(templates.len() * self.n as usize);
        for template in templates {
            let prompt = fill(template, Some(&subject.token), &subject.class);
            let vectors = texts::vectors(&setup.arms[checkpoint.cell.arm]);
            let remark = texts::too_long(&setup.pipeline, &prompt, &subject.token, vectors)?;
            remark.inspect(|remark| tell!("warning: {remark}"));
            requests.extend((0..self.n).map(|i| Request {
                names: vec![prompt.clone(), i.to_string()],
                prompt: prompt.clone(),
                seed: self.sampling.seed,
                purpose: "generate",
            }));
        }
        Ok(requests)
    }

    fn draw(
        &self,
        checkpoint: &Checkpoint,
        requests: &[Request],
        scales: &[f64],
    ) -> Result<Vec<Drawn>> {
        let setup = &checkpoint.setup;
        let mut drawer = setup.drawer();
        drawer.negative = self.sampling.negative()?;
        let cost = setup.own_cost(&checkpoint.cell, requests.len());
        let mut progress = Progress::new(cost * scales.len() as f64);
        let words = self
            .embedding
            .iter()
            .map(|path| textual_inversion::read(path).or_bad_input("--embedding"));
        let words = words.collect::<Result<Vec<_>>>()?.concat();
        for word in &words {
            tell!(
                "`{}` is a word of {} vectors",
                word.token,
                word.names().len()
            );
        }
        let mut all = Vec::with_capacity(scales.len());
        for scale in scales {
            let (step, trained) = match &self.lora {
                Some(path) => (
                    Candidate::BASE,
                    Some(load_lora(setup.base(), path, *scale)?),
                ),
                None => checkpoint.load(*scale)?,
            };
            // The base model has nothing to scale.
            let scale = trained.as_ref().map(|_| *scale);
            let mut network = kept::drawn(setup, &checkpoint.cell, trained.as_deref())?;
            network.read_words(&words, setup.pipeline.texts())?;
            let pictures = drawer.draw(&network, requests, &mut progress, "drawing")?;
            all.push(Drawn {
                step,
                scale,
                weights: network.weights,
                pictures,
            });
            if scale.is_none() && scales != [1.0] {
                progress.line("step 0 is the base model: a scale has no effect on it");
                break;
            }
        }
        progress.finish();
        Ok(all)
    }

    fn write(&self, checkpoint: &Checkpoint, requests: &[Request], drawn: &[Drawn]) -> Result<()> {
        let each = self.n as usize;
        let (setup, cell) = (&checkpoint.setup, &checkpoint.cell);
        let stem = self.lora.as_ref().and_then(|path| path.file_stem());
        let named = |step: Candidate| match &stem {
            Some(stem) => (
                files::part(&stem.to_string_lossy(), 80),
                stem.to_string_lossy().into_owned(),
            ),
            None => (step.folder(), format!("{} step {step}", cell.id)),
        };
        let solver = settings::solver(setup.experiment.sampler.solver);
        let solver = solver.title(&setup.pipeline.schedule);
        let has_lora = self.lora.is_some() || setup.arms[cell.arm].lora.is_some();
        for one in drawn {
            let (what, source) = named(one.step);
            let scale = match one.scale {
                Some(scale) if scale != 1.0 || drawn.len() > 1 => format!("-scale-{scale}"),
                _ => String::new(),
            };
            for (i, (request, picture)) in requests.iter().zip(&one.pictures).enumerate() {
                // Long prompts may begin alike and file systems limit names to 255 bytes: the prompt's number tells them apart.
                let (prompt, number) = (i / each, i % each);
                let text = files::part(&request.prompt, 60);
                let name = format!(
                    "{what}{scale}-seed-{}-{prompt:02}-{text}-{number}",
                    request.seed
                );
                let bytes = Parameters {
                    prompt: &request.prompt,
                    negative: &self.sampling.negative,
                    seed: request.seed,
                    picture: number,
                    sampler: &setup.experiment.sampler,
                    reward_guidance: setup.arms[cell.arm].recipe.reward_guidance,
                    solver: &solver,
                    size: setup.size,
                    model: &setup.experiment.model.path,
                    checkpoint: &source,
                    lora_scale: one.scale.filter(|_| has_lora),
                    weights: &one.weights,
                    version: concat!("rpo-train ", env!("CARGO_PKG_VERSION")),
                }
                .png(picture)?;
                self.put(&name, &bytes)?;
            }
        }
        if self.sheet {
            let (what, _) = named(drawn.last().map_or(Candidate::BASE, |one| one.step));
            let name = format!("{what}-seed-{}-sheet", self.sampling.seed);
            self.put(&name, &png_bytes(&sheet(requests, drawn, each).draw()))?;
        }
        Ok(())
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = files::free(&self.out, name, bytes)?;
        crate::files::write(&path, bytes)?;
        say!("{}", path.display());
        Ok(())
    }
}

/// With one scale a row per prompt, else a row per picture with a column per scale.
fn sheet<'a>(requests: &[Request], drawn: &'a [Drawn], each: usize) -> Sheet<'a> {
    match drawn {
        [one] => Sheet {
            columns: (1..=each).map(|i| i.to_string()).collect(),
            rows: requests
                .chunks(each)
                .zip(one.pictures.chunks(each))
                .map(|(row, pictures)| (row[0].prompt.clone(), pictures.iter().collect()))
                .collect(),
        },
        several => Sheet {
            columns: several
                .iter()
                .filter_map(|one| one.scale)
                .map(|scale| format!("scale {scale}"))
                .collect(),
            rows: requests
                .iter()
                .enumerate()
                .map(|(i, request)| {
                    let name = match each {
                        1 => request.prompt.clone(),
                        _ => format!("{} · {}", request.prompt, i % each + 1),
                    };
                    (name, several.iter().map(|one| &one.pictures[i]).collect())
                })
                .collect(),
        },
    }
}

/// The scales without repetition, in order.
fn distinct(scales: &[f64]) -> Vec<f64> {
    let mut seen = BTreeSet::new();
    let new = scales.iter().filter(|scale| seen.insert(scale.to_bits()));
    new.copied().collect()
}
