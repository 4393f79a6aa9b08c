//! `rpo-train forward`: any part of any model on given inputs, for comparison with a reference.

mod args;
mod diffusion;
mod encoders;
mod gradient;
mod inputs;
mod results;

use crate::device::DeviceArgs;
use crate::hub::Content;
use crate::paths;
use crate::thing::Thing;
use anyhow::Result;
use args::Part;
use inputs::Inputs;
use results::write;
use rpo_files::failure::{BadInput, OrBadInput};
use rpo_files::{destination, say};
use std::path::{Path, PathBuf};

pub(super) use args::ForwardArgs;

/// Runs the part and writes its results.
pub(super) fn forward(mut args: ForwardArgs) -> Result<()> {
    args.model = folder(&args.model, args.part)?;
    if let Some(base) = &args.base {
        args.base = Some(folder(base, args.part)?);
    }
    let args = &args;
    if args.grad.is_some() && args.part != Part::Unet {
        return Err(BadInput::new(
            "--grad goes with --part unet: only the U-Net is trained",
        ));
    }
    if args.lora.is_some() && !matches!(args.part, Part::Unet | Part::Text) {
        return Err(BadInput::new(
            "--lora goes with --part unet and --part text: only these are adapted",
        ));
    }
    if args.embedding.is_some() && (args.part != Part::Text || args.texts.is_empty()) {
        return Err(BadInput::new(
            "--embedding goes with --part text and --text: ids know no new words",
        ));
    }
    let read = args.inputs.iter().chain(&args.pictures).chain(&args.lora);
    let read = read.chain(&args.embedding);
    destination::replaceable(
        "--output",
        &args.output,
        read.map(PathBuf::as_path),
        |start| destination::holds(start, "\"rpo\":\"forward\""),
    )?;
    let (place, _) = DeviceArgs::named(&args.device).open(&args.dtype)?;
    let inputs = args.inputs.as_deref().map(Inputs::read).transpose()?;
    let lora = args.lora.as_deref().map(|path| (path, args.lora_scale));
    let results = match args.part {
        Part::Unet if args.grad.is_some() => gradient::run(args, need(&inputs)?),
        Part::Unet => diffusion::unet(&args.model, lora, need(&inputs)?, &place),
        Part::VaeEncode => diffusion::vae_encode(&args.model, need(&inputs)?, &place),
        Part::VaeDecode => diffusion::vae_decode(&args.model, need(&inputs)?, &place),
        Part::Text if args.embedding.is_some() => diffusion::words(args, &place),
        Part::Text => diffusion::text(&args.model, lora, inputs.as_ref(), &args.texts, &place),
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
        say!("{name} {:?}", results[*name].dims());
    }
    if names.len() > 12 {
        say!("and {} more", names.len() - 12);
    }
    say!("written {}", args.output.display());
    Ok(())
}

/// The folder that `--model` or `--base` names.
fn folder(named: &Path, part: Part) -> Result<PathBuf> {
    let content = match part {
        Part::Align | Part::Clip | Part::Vit => Content::Encoder,
        Part::Unet | Part::VaeEncode | Part::VaeDecode | Part::Text => Content::Pipeline,
    };
    match Thing::at(named) {
        Some(Thing::Model | Thing::Part | Thing::Folder) => Ok(named.to_owned()),
        Some(other) => {
            let wanted = "a folder that diffusers or transformers saved is asked for";
            Err(BadInput::new(other.refused(named, wanted)))
        }
        None => paths::argument(named, content).or_bad_input("--model"),
    }
}

fn need(inputs: &Option<Inputs>) -> Result<&Inputs> {
    inputs.as_ref().ok_or_else(|| {
        BadInput::new("--inputs FILE is needed: docs/forward.md lists the tensors of every part")
    })
}
