//! `rpo-train lora`: inspects and converts LoRA files, merges them into a model and removes them from it.

use super::export::Dtype;
use super::numbers::finite;
use crate::export::{self, How, Sound, Staging, refuse_occupied};
use crate::files;
use crate::hub::Content;
use crate::paths;
use crate::thing::Thing;
use anyhow::Result;
use candle_core::DType;
use clap::{Args, Subcommand, ValueEnum};
use rpo_diffusion::lora::{BaseModel, Lora, without_hashes};
use rpo_diffusion::{UNetConfig, check_folder, check_unet};
use rpo_encoders::folder;
use rpo_files::failure::{BadInput, OrBadInput};
use rpo_files::printable::{printable, printable_name};
use rpo_files::{say, tell};
use rpo_nn::lora::LoraModule;
use rpo_nn::weights::{Archive, MAX_SHARD_SIZE, Precision, pt, write_sharded};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What to do with a LoRA.
#[derive(Subcommand)]
pub(super) enum LoraVerb {
    /// Add a LoRA to the weights of a model: W + scale · alpha/rank · B A
    Merge(MergeArgs),
    /// Remove a merged LoRA, exact up to rounding
    Unmerge(MergeArgs),
    /// Write a LoRA with the names of another format
    Convert(ConvertArgs),
    /// Print what a LoRA file holds
    Info {
        /// LoRA file, or the folder of a kept checkpoint
        lora: PathBuf,
        /// Print metadata in full
        #[arg(long)]
        full: bool,
    },
}

/// Arguments of `merge` and `unmerge`.
#[derive(Args)]
pub(super) struct MergeArgs {
    /// LoRA file, or the folder of a kept checkpoint
    lora: PathBuf,
    /// Model folder in diffusers layout, or the folder of its U-Net
    #[arg(long)]
    model: PathBuf,
    /// New folder of the same kind
    #[arg(long)]
    to: PathBuf,
    /// Scale of the LoRA
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true, value_parser = finite)]
    scale: f64,
    /// dtype of the new weights
    #[arg(long, value_enum, default_value_t)]
    dtype: Dtype,
    /// Link the other weights of the model instead of copying them
    #[arg(long)]
    link: bool,
}

/// Arguments of `convert`.
#[derive(Args)]
pub(super) struct ConvertArgs {
    /// LoRA file, or the folder of a kept checkpoint
    lora: PathBuf,
    /// New file
    #[arg(long)]
    to: PathBuf,
    /// Format of its key names
    #[arg(long, value_enum)]
    format: Names,
    /// Family of its base model, if the modules do not determine it; kohya names SDXL's modules differently
    #[arg(long, value_enum)]
    base: Option<Family>,
    /// dtype of its values; default: as in the file read
    #[arg(long, value_enum)]
    dtype: Option<Dtype>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Names {
    /// For ComfyUI, A1111 and other programs
    Kohya,
    /// For diffusers and peft
    Peft,
}

#[derive(Clone, Copy, ValueEnum)]
enum Family {
    Sd1,
    Sd2,
    Sd2V,
    Sdxl,
}

/// The folders of the text encoders.
const ENCODERS: [&str; 2] = ["text_encoder", "text_encoder_2"];

/// ResNet blocks per down block in every released U-Net.
const LAYERS_PER_BLOCK: usize = 2;

/// Runs the verb.
pub(super) fn lora(verb: &LoraVerb) -> Result<()> {
    match verb {
        LoraVerb::Merge(args) => merge(args, args.scale),
        LoraVerb::Unmerge(args) => merge(args, -args.scale),
        LoraVerb::Convert(args) => convert(args),
        LoraVerb::Info { lora, full } => info(lora, *full),
    }
}

fn merge(args: &MergeArgs, scale: f64) -> Result<()> {
    if let Some(other @ (Thing::Checkpoint | Thing::Model | Thing::Run | Thing::Pickle)) =
        Thing::at(&args.lora)
    {
        let wanted = "a LoRA is asked for first, the model with --model";
        return Err(BadInput::new(other.refused(&args.lora, wanted)));
    }
    let model = match Thing::at(&args.model) {
        Some(Thing::Model | Thing::Part) => args.model.clone(),
        Some(other) => {
            let wanted = "--model is a model folder, or the folder of its U-Net";
            return Err(BadInput::new(other.refused(&args.model, wanted)));
        }
        None => paths::argument(&args.model, Content::Pipeline)?,
    };
    export::refuse_occupied(&args.to)?;
    export::refuse_within(&model, &args.to)?;
    let pipeline = model.join("model_index.json").is_file();
    let unet = if pipeline {
        export::check_links(&model)?;
        check_folder(&model, None).or_bad_input("--model")?;
        model.join("unet")
    } else {
        export::check_part_links(&model, &model)?;
        check_unet(&model, None).or_bad_input("--model")?;
        model.clone()
    };
    let config = UNetConfig::load(&unet.join("config.json")).or_bad_input("--model")?;
    let lora = read(&args.lora, config.layers(0))?;
    let archive = folder::open_archive(&unet, None).or_bad_input("--model")?;
    let items = lora
        .merged(&archive, scale)
        .or_bad_input(args.lora.display())?;
    let largest = match args.dtype {
        Dtype::F16 => 65504.0,
        Dtype::F32 | Dtype::Bf16 => f32::MAX,
    };
    lora.refuse_overflow(&archive, scale, largest)
        .or_bad_input(args.lora.display())?;
    let encoders = match pipeline {
        true => text_encoders(&model, &lora).or_bad_input(args.lora.display())?,
        false => Vec::new(),
    };
    for (i, _, archive) in &encoders {
        lora.refuse_overflow_text(*i, archive, scale, largest)
            .or_bad_input(args.lora.display())?;
    }
    if lora.has_text() && !pipeline {
        tell!(
            "{}: its adapters of text encoders are passed over: {} is a U-Net alone",
            args.lora.display(),
            model.display()
        );
    }
    let texts = encoders.iter().map(|(i, part, archive)| {
        let items = lora.merged_text(*i, archive, scale);
        Ok((*part, items.or_bad_input(args.lora.display())?))
    });
    let texts = texts.collect::<Result<Vec<_>>>()?;
    let staging = Staging::begin(&args.to)?;
    let (to, precision) = (staging.path(), Precision::from(args.dtype));
    if pipeline {
        let trained: Vec<&str> = texts.iter().map(|(part, _)| *part).collect();
        let how = How {
            variant: None,
            link: args.link,
            precision,
            trained: &trained,
        };
        export::copy_rest(&model, to, how)?;
        export::write_unet(&model, to, items, precision, &pt())?;
        for (part, items) in texts {
            export::write_weights(&to.join(part), "model", items, precision, &pt())?;
        }
    } else {
        export::copy_part(&unet, to)?;
        let stem = "diffusion_pytorch_model";
        let sound = Sound::new(precision);
        let items = sound.items(items, archive.label());
        sound.told(write_sharded(
            to,
            stem,
            items,
            precision,
            &pt(),
            MAX_SHARD_SIZE,
        ))?;
    }
    staging.finish()?;
    let of_texts = encoders.iter().map(|(i, ..)| lora.text[*i].len());
    say!(
        "{}: {} modules, {scale} times",
        args.to.display(),
        lora.modules.len() + of_texts.sum::<usize>()
    );
    Ok(())
}

/// The weights of the text encoders of a model that the LoRA has adapters for, with number and folder.
fn text_encoders(
    model: &Path,
    lora: &Lora,
) -> candle_core::Result<Vec<(usize, &'static str, Archive)>> {
    let there = ENCODERS.iter().filter(|part| model.join(part).is_dir());
    lora.check_encoders(there.count())?;
    let parts = ENCODERS.into_iter().enumerate().zip(&lora.text);
    let adapted = parts.filter(|(_, modules)| !modules.is_empty());
    adapted
        .map(|((i, part), _)| Ok((i, part, folder::open_archive(&model.join(part), None)?)))
        .collect()
}

fn convert(args: &ConvertArgs) -> Result<()> {
    let mut lora = read(&args.lora, LAYERS_PER_BLOCK)?;
    refuse_occupied(&args.to)?;
    let base = match args.base {
        None => lora.base(),
        Some(Family::Sd1) => BaseModel::Sd1,
        Some(Family::Sd2) => BaseModel::Sd2,
        Some(Family::Sd2V) => BaseModel::Sd2V,
        Some(Family::Sdxl) => BaseModel::Sdxl,
    };
    if let Some(dtype) = args.dtype {
        lora.dtype = match dtype {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::Bf16 => DType::BF16,
        };
    }
    let name = args.to.file_stem().unwrap_or_default().to_string_lossy();
    lora.metadata = without_hashes(std::mem::take(&mut lora.metadata));
    lora.identify(base, &name);
    let bytes = match args.format {
        Names::Kohya => lora.to_kohya(base, LAYERS_PER_BLOCK),
        Names::Peft => lora.to_peft(None),
    };
    files::write(&args.to, &bytes.or_bad_input(args.lora.display())?)?;
    say!(
        "{}: {} modules of {} ({})",
        args.to.display(),
        lora.modules.len() + lora.text.iter().map(BTreeMap::len).sum::<usize>(),
        base.architecture(),
        lora.format.name()
    );
    Ok(())
}

fn info(path: &Path, full: bool) -> Result<()> {
    let lora = read(path, LAYERS_PER_BLOCK)?;
    let each = || std::iter::once(&lora.modules).chain(&lora.text);
    let numbers: usize = each()
        .flat_map(|modules| modules.values())
        .map(|m| m.a.elem_count() + m.b.elem_count())
        .sum();
    let or = |value: Option<String>| value.unwrap_or_else(|| "differs by module".into());
    say!("keys       {}", lora.format.name());
    say!("base       {}", lora.base().architecture());
    say!("rank       {}", or(lora.rank().map(|r| r.to_string())));
    say!("alpha      {}", or(lora.alpha().map(|a| a.to_string())));
    say!("values     {:?}, {:.2} M", lora.dtype, numbers as f64 / 1e6);
    say!("modules    {}", lora.modules.len());
    kinds(&lora.modules);
    for (part, modules) in ENCODERS.into_iter().zip(&lora.text) {
        say!("{part:<16} {}", modules.len());
        kinds(modules);
    }
    for (key, value) in &lora.metadata {
        let end = match value.char_indices().nth(100) {
            Some((end, _)) if !full => end,
            _ => value.len(),
        };
        let (short, rest) = value.split_at(end);
        say!(
            "  {} = {}{}",
            printable_name(key),
            printable(short),
            if rest.is_empty() { "" } else { " …" }
        );
    }
    Ok(())
}

/// Prints how many modules there are of each kind of layer.
fn kinds(modules: &BTreeMap<String, LoraModule>) {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for name in modules.keys() {
        // Indices of lists are left out, except that `to_out.0` stays one kind of layer.
        let parts: Vec<&str> = name.split('.').collect();
        let from = parts.iter().rposition(|p| p.parse::<usize>().is_err());
        *kinds
            .entry(parts[from.unwrap_or(0)..].join("."))
            .or_default() += 1;
    }
    for (kind, count) in kinds {
        say!("           {count:>4} {kind}");
    }
}

/// Reads a LoRA and prints what is ignored in it.
fn read(path: &Path, layers_per_block: usize) -> Result<Lora> {
    let lora = Lora::read(path, layers_per_block).or_bad_input("LoRA")?;
    for note in &lora.notes {
        tell!("{}: {note}", path.display());
    }
    Ok(lora)
}
