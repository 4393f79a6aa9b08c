//! `rpo-train generate`: pictures from a checkpoint of a run, or from the base model.

use crate::experiment;
use crate::failure::{BadInput, OrBadInput};
use crate::files;
use crate::progress::{Progress, Times};
use crate::run_folder::{RunFolder, RunInfo};
use crate::runner::checkpoint;
use crate::runner::draw::Request;
use crate::runner::exam;
use crate::runner::setup::Setup;
use anyhow::Result;
use clap::Args;
use rpo_data::prompts::fill;
use std::path::PathBuf;

/// Arguments of `generate`.
#[derive(Args)]
pub(super) struct GenerateArgs {
    /// Run folder
    run: PathBuf,
    /// Trajectory, as `arm/subject/seed-0`; by default the run's first
    #[arg(long)]
    trajectory: Option<String>,
    /// Checkpoint: a kept step, or `0` for the base model; by default the one the first rule chose
    #[arg(long)]
    step: Option<usize>,
    /// LoRA file to lay over the base model, in place of a checkpoint of the run
    #[arg(long, conflicts_with = "step")]
    lora: Option<PathBuf>,
    /// How much the LoRA counts, of --lora or of the checkpoint
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    lora_scale: f64,
    /// Prompt; `{}` stands for token and class
    #[arg(long = "prompt", default_value = "a photo of {}")]
    prompts: Vec<String>,
    /// Pictures a prompt
    #[arg(short, long, default_value_t = 4)]
    n: usize,
    /// Seed of the noise
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder for the pictures
    #[arg(long, default_value = "generated")]
    out: PathBuf,
}

/// Draws the pictures and prints their paths.
pub(super) fn generate(args: &GenerateArgs) -> Result<()> {
    let (experiment, mut layers) = experiment::read(&args.run.join("resolved.toml"), &[], &[])?;
    let info: RunInfo = files::read_json(&args.run.join("run.json")).or_bad_input("run folder")?;
    layers.folder.clone_from(&info.experiment_folder);
    let setup = Setup::load(experiment, &layers)?;
    if info.inputs != setup.inputs_hash {
        return Err(BadInput::new(format!(
            "{}: the model, the encoders, the subjects or this program's kernels are not those of the run\n  mend: put back what the run was made with (looked for from {})",
            args.run.display(),
            info.experiment_folder.display()
        )));
    }
    let names: Vec<&str> = info.cells.iter().map(|c| c.id.as_str()).collect();
    let wanted = args
        .trajectory
        .as_deref()
        .or(names.first().copied())
        .unwrap_or_default();
    let Some(cell) = info.cells.iter().find(|c| c.id == wanted) else {
        return Err(BadInput::new(format!(
            "no trajectory `{wanted}` in this run\n  mend: one of {}",
            names.join(", ")
        )));
    };
    let folder = RunFolder {
        path: args.run.clone(),
    }
    .trajectory(cell);
    let kept = folder.kept_steps();
    let step = match args.step {
        // Over the base model.
        None if args.lora.is_some() => 0,
        Some(step) => step,
        None if !exam::is_trained(&folder)? => {
            return Err(BadInput::new(format!(
                "trajectory `{wanted}` is not finished, so no rule has chosen a step\n  mend: run its experiment to the end, or give --step, one of 0, {kept:?}"
            )));
        }
        None => {
            let choices = exam::choices(&setup, &folder).or_bad_input("nothing was chosen yet")?;
            choices.steps[choices.decisions[0].chosen]
        }
    };
    if step > 0 && !kept.contains(&step) {
        return Err(BadInput::new(format!(
            "step {step} of `{wanted}` was not kept\n  mend: one of 0, {kept:?}"
        )));
    }
    let arm = &setup.arms[cell.arm];
    if args.lora_scale != 1.0 && args.lora.is_none() && arm.lora.is_none() {
        return Err(BadInput::new(format!(
            "--lora-scale: `{wanted}` trained the whole U-Net, so there is no LoRA to scale\n  mend: leave it away, or give --lora"
        )));
    }
    let subject = &setup.subjects[cell.subject];
    let requests: Vec<Request> = args
        .prompts
        .iter()
        .map(|p| fill(p, Some(&subject.token), &subject.class))
        .flat_map(|prompt| (0..args.n).map(move |i| (prompt.clone(), i)))
        .map(|(prompt, i)| Request {
            names: vec![prompt.clone(), i.to_string()],
            prompt,
            seed: args.seed,
            purpose: "generate",
        })
        .collect();
    let drawer = setup.drawer();
    let mut progress = Progress::new(drawer.cost(requests.len()), Times::default());
    let (unet, weights) = match &args.lora {
        Some(path) => checkpoint::load_lora(&setup, path, args.lora_scale)?,
        None => checkpoint::load(&setup, arm, &folder, step, args.lora_scale)?,
    };
    let pictures = drawer.draw(&unet, &weights, &requests, &mut progress, "drawing")?;
    progress.finish();
    let what = match args.lora.as_ref().and_then(|path| path.file_stem()) {
        Some(stem) => crate::plan::folder_name(&stem.to_string_lossy()),
        None => format!("step-{step:06}"),
    };
    for (i, (request, picture)) in requests.iter().zip(&pictures).enumerate() {
        // Long prompts may begin alike and file systems end names at 255 bytes: the prompt's number tells them apart.
        let (prompt, number) = (i / args.n, i % args.n);
        let start: String = request.prompt.chars().take(60).collect();
        let text = crate::plan::folder_name(&start);
        let name = format!("{what}-seed-{}-{prompt:02}-{text}-{number}.png", args.seed);
        let path = args.out.join(name);
        files::write_png(&path, picture)?;
        println!("{}", path.display());
    }
    Ok(())
}
