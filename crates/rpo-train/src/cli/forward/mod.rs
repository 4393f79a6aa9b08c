//! `rpo-train forward`: any part of any model on given inputs, so that anybody can hold it against a reference.

mod diffusion;
mod encoders;
mod gradient;
mod inputs;

use super::output;
use crate::device::DeviceArgs;
use anyhow::Result;
use candle_core::Tensor;
use clap::{Args, ValueEnum};
use inputs::Inputs;
use rpo_files::failure::{BadInput, OrBadInput};
use rpo_pref::recipe::Preset;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// What is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The denoiser
    Unet,
    /// Pictures to the posterior of their latents
    VaeEncode,
    /// Latents to pictures
    VaeDecode,
    /// The text encoders of a diffusion model
    Text,
    /// Both towers of an AlignModel
    Align,
    /// Both towers of a CLIPModel
    Clip,
    /// A ViTModel (DINO)
    Vit,
}

/// Arguments of `forward`; `docs/forward.md` lists the tensors.
#[derive(Args)]
pub(super) struct ForwardArgs {
    /// Folder of the model, or of the part alone: what diffusers or transformers saved
    #[arg(long)]
    model: PathBuf,
    /// What to run
    #[arg(long, value_enum)]
    part: Part,
    /// safetensors file with the inputs, in PyTorch's layout
    #[arg(long)]
    inputs: Option<PathBuf>,
    /// Picture files in place of `pixel_values` (align, clip, vit)
    #[arg(long = "picture", num_args = 1.., value_name = "FILE")]
    pictures: Vec<PathBuf>,
    /// Texts in place of token ids (text, align, clip)
    #[arg(long = "text", num_args = 1..)]
    texts: Vec<String>,
    /// Where to compute: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu", conflicts_with = "grad")]
    device: String,
    /// Of activations on a GPU (unet, vae-encode, vae-decode; encoders compute in f32): f32 or bf16
    #[arg(long, default_value = "f32")]
    dtype: String,
    /// safetensors file for the results
    #[arg(long)]
    output: PathBuf,
    /// With `--part unet`: LoRA file, or the folder of a kept checkpoint, to lay over the weights
    #[arg(long, value_name = "FILE", conflicts_with = "grad")]
    lora: Option<PathBuf>,
    /// With `--lora`: how much it counts
    #[arg(
        long,
        default_value_t = 1.0,
        requires = "lora",
        allow_negative_numbers = true
    )]
    lora_scale: f64,
    /// With `--part unet`: losses and all gradients of one RPO step
    #[arg(long, value_name = "RECIPE", num_args = 0..=1, default_missing_value = "official")]
    grad: Option<String>,
    /// With `--grad`: the recipe by name, the same as `--grad NAME`
    #[arg(long, requires = "grad")]
    recipe: Option<String>,
    /// With `--grad`: the frozen reference; by default the model itself, as at the first step
    #[arg(long, requires = "grad")]
    base: Option<PathBuf>,
    /// With `--grad`: compute blocks again in the backward pass, with less memory
    #[arg(long, requires = "grad")]
    recompute: bool,
    /// With `--grad`: β in place of the recipe's
    #[arg(long, requires = "grad")]
    beta: Option<f64>,
}

/// Runs the part and writes its results.
pub(super) fn forward(args: &ForwardArgs) -> Result<()> {
    if !args.model.is_dir() {
        return Err(BadInput::new(format!(
            "--model {}: there is no such folder\n  hint: give a folder that diffusers or transformers saved",
            args.model.display()
        )));
    }
    if args.grad.is_some() && args.part != Part::Unet {
        return Err(BadInput::new(
            "--grad goes with --part unet: only the U-Net is trained",
        ));
    }
    if args.lora.is_some() && args.part != Part::Unet {
        return Err(BadInput::new(
            "--lora goes with --part unet: only the U-Net is adapted",
        ));
    }
    let read = args.inputs.iter().chain(&args.pictures).chain(&args.lora);
    output::refuse_foreign(
        "--output",
        &args.output,
        read.map(PathBuf::as_path),
        |start| output::holds(start, "\"rpo\":\"forward\""),
    )?;
    let (place, _) = DeviceArgs::named(&args.device).open(&args.dtype)?;
    let inputs = args.inputs.as_deref().map(Inputs::read).transpose()?;
    let results = match args.part {
        Part::Unet if args.grad.is_some() => gradient::run(args, need(&inputs)?),
        Part::Unet => {
            let lora = args.lora.as_deref().map(|path| (path, args.lora_scale));
            diffusion::unet(&args.model, lora, need(&inputs)?, &place)
        }
        Part::VaeEncode => diffusion::vae_encode(&args.model, need(&inputs)?, &place),
        Part::VaeDecode => diffusion::vae_decode(&args.model, need(&inputs)?, &place),
        Part::Text => diffusion::text(&args.model, inputs.as_ref(), &args.texts, &place),
        Part::Align | Part::Clip | Part::Vit => encoders::run(
            args.part,
            &args.model,
            inputs.as_ref(),
            &args.pictures,
            &args.texts,
            &place,
        ),
    }?;
    write(&args.output, &results)?;
    let mut names: Vec<&String> = results.keys().collect();
    names.sort();
    for name in names.iter().take(12) {
        println!("{name} {:?}", results[*name].dims());
    }
    if names.len() > 12 {
        println!("and {} more", names.len() - 12);
    }
    println!("written {}", args.output.display());
    Ok(())
}

type Results = HashMap<String, Tensor>;

fn need(inputs: &Option<Inputs>) -> Result<&Inputs> {
    inputs.as_ref().ok_or_else(|| {
        BadInput::new("--inputs FILE is needed: docs/forward.md lists the tensors of every part")
    })
}

/// Streams the tensors to a temporary file and renames it: an earlier result is whole until the new one is.
fn write(path: &Path, results: &Results) -> Result<()> {
    let metadata = HashMap::from([("rpo".to_owned(), "forward".to_owned())]);
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    let written = || -> Result<()> {
        let aside = rpo_files::temporary_folder(folder.unwrap_or(Path::new(".")))?;
        let part = aside.path().join("result");
        let tensors = results.iter().map(|(k, v)| (k.as_str(), v));
        safetensors::serialize_to_file(tensors, Some(metadata), &part)?;
        Ok(std::fs::rename(&part, path)?)
    };
    written().or_bad_input(format!("--output {}", path.display()))
}

/// A recipe by its name.
fn preset(name: &str) -> Result<Preset> {
    let known = Preset::ALL.iter().find(|p| p.name() == name);
    known.copied().ok_or_else(|| {
        let names: Vec<&str> = Preset::ALL.iter().map(|p| p.name()).collect();
        BadInput::new(format!(
            "no recipe `{name}`\n  hint: one of {}",
            names.join(", ")
        ))
    })
}
