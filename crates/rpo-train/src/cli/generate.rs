//! `rpo-train generate`: pictures from a checkpoint of a run, or from the base model.

use super::checkpoint::CheckpointArgs;
use super::numbers::finite;
use crate::device;
use crate::files;
use crate::progress::Progress;
use crate::runner::checkpoint as kept;
use crate::runner::draw::Request;
use crate::runner::trainable::load_lora;
use crate::texts;
use anyhow::Result;
use clap::Args;
use rpo_data::picture::png_bytes;
use rpo_data::prompts::fill;
use rpo_files::failure::{BadInput, OrBadInput};
use rpo_files::{destination, refuse_unless_plain, say, tell};
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
    #[arg(long, conflicts_with = "step")]
    lora: Option<PathBuf>,
    /// Scale of the LoRA, from --lora or from the checkpoint
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true, value_parser = finite)]
    lora_scale: f64,
    /// Prompt; `{}` stands for token and class
    #[arg(long = "prompt", default_value = "a photo of {}")]
    prompts: Vec<String>,
    /// Pictures per prompt
    #[arg(short, long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=MOST))]
    n: u32,
    /// Seed of the noise
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder for the pictures
    #[arg(long, default_value = "generated")]
    out: PathBuf,
}

/// Draws the pictures and prints their paths.
pub(super) fn generate(args: &GenerateArgs) -> Result<()> {
    // Checked before minutes are spent on drawing.
    destination::folder_of_results("--out", &args.out)?;
    let each = args.n as usize;
    let mut checkpoint = args.checkpoint.find(args.lora.is_some())?;
    let model = &checkpoint.setup.experiment.model;
    let chosen = device::open(&model.device, &model.dtype).or_else(|e| {
        tell!("drawing on the CPU: {e}");
        device::open("cpu", "auto")
    })?;
    checkpoint.setup = checkpoint.setup.at(chosen)?;
    let (setup, cell) = (&checkpoint.setup, &checkpoint.cell);
    let arm = &setup.arms[cell.arm];
    if args.lora_scale != 1.0 && args.lora.is_none() && arm.lora.is_none() {
        return Err(BadInput::new(format!(
            "--lora-scale: `{}` trained the whole U-Net, so there is no LoRA to scale\n  hint: leave it away, or give --lora",
            cell.id
        )));
    }
    let subject = &setup.subjects[cell.subject];
    let requests: Vec<Request> = args
        .prompts
        .iter()
        .map(|p| fill(p, Some(&subject.token), &subject.class))
        .flat_map(|prompt| (0..each).map(move |i| (prompt.clone(), i)))
        .map(|(prompt, i)| Request {
            names: vec![prompt.clone(), i.to_string()],
            prompt,
            seed: args.seed,
            purpose: "generate",
        })
        .collect();
    let mut warned = BTreeSet::new();
    for request in &requests {
        if warned.insert(&request.prompt) {
            let remark = texts::too_long(&setup.pipeline, &request.prompt, &subject.token)?;
            remark.inspect(|remark| tell!("warning: {remark}"));
        }
    }
    let drawer = setup.drawer();
    let mut progress = Progress::new(drawer.cost(requests.len()));
    let (step, trained) = match &args.lora {
        Some(path) => (0, Some(load_lora(setup.base(), path, args.lora_scale)?)),
        None => checkpoint.load(args.lora_scale)?,
    };
    let (unet, weights) = kept::network(setup, trained.as_deref())?;
    let pictures = drawer.draw(&unet, &weights, &requests, &mut progress, "drawing")?;
    progress.finish();
    let what = match args.lora.as_ref().and_then(|path| path.file_stem()) {
        Some(stem) => rpo_experiment::plan::folder_name(&stem.to_string_lossy()),
        None => format!("step-{step:06}"),
    };
    let mut drawn = Vec::with_capacity(pictures.len());
    for (i, (request, picture)) in requests.iter().zip(&pictures).enumerate() {
        // Long prompts may begin alike and file systems limit names to 255 bytes: the prompt's number tells them apart.
        let (prompt, number) = (i / each, i % each);
        let start: String = request.prompt.chars().take(60).collect();
        let text = rpo_experiment::plan::folder_name(&start);
        let name = format!("{what}-seed-{}-{prompt:02}-{text}-{number}.png", args.seed);
        drawn.push((args.out.join(name), png_bytes(picture)));
    }
    // Names do not include the run: pictures of another run may have the same names.
    let differs = |(path, bytes): &&(PathBuf, Vec<u8>)| {
        path.exists() && std::fs::read(path).map_or(true, |there| there != *bytes)
    };
    for (path, _) in &drawn {
        refuse_unless_plain(path).or_bad_input("--out")?;
    }
    if let Some((path, _)) = drawn.iter().find(differs) {
        return Err(BadInput::new(format!(
            "{}: another picture is there, and nothing is overwritten\n  hint: name another folder with --out; what was drawn is kept and need not be drawn again",
            path.display()
        )));
    }
    for (path, bytes) in &drawn {
        files::write(path, bytes)?;
        say!("{}", path.display());
    }
    Ok(())
}
