//! `rpo-train export`: a checkpoint of a run, or a model folder, as a whole model for other programs. `rpo-train import`: the reverse.

use super::checkpoint::CheckpointArgs;
use crate::export::{self, Staging};
use crate::hub::{Content, Environment};
use crate::paths;
use crate::runner::checkpoint as kept;
use anyhow::Result;
use clap::{Args, ValueEnum};
use rpo_diffusion::checkpoint::model_spec;
use rpo_diffusion::{NoiseSchedule, PredictionType, UNetConfig, VaeConfig};
use rpo_encoders::folder::open_archive;
use rpo_files::failure::{BadInput, OrBadInput};
use rpo_nn::weights::{Archive, Item, Params, Precision, pt};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Arguments of `export`.
#[derive(Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    checkpoint: CheckpointArgs,
    /// Where to write: a new folder, or a new file NAME.safetensors
    #[arg(long)]
    to: PathBuf,
    /// What to write; default: a folder, or a single file if --to ends in .safetensors
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// dtype of the weights: of the U-Net in a folder, of all parts in a single file
    #[arg(long, value_enum, default_value_t)]
    dtype: Dtype,
    /// In a folder, link the base model's weights instead of copying them
    #[arg(long)]
    link: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Format {
    /// A folder that `StableDiffusionPipeline.from_pretrained` opens
    Diffusers,
    /// One file for ComfyUI, A1111 and similar programs
    SingleFile,
}

#[derive(Clone, Copy, Default, ValueEnum)]
pub(super) enum Dtype {
    /// 32 bits: as trained
    #[default]
    F32,
    /// 16 bits, half the size
    F16,
    /// 16 bits with the range of f32
    Bf16,
}

impl From<Dtype> for Precision {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::F32,
            Dtype::F16 => Self::F16,
            Dtype::Bf16 => Self::Bf16,
        }
    }
}

/// Writes the model and prints its path.
pub(super) fn export(args: &ExportArgs) -> Result<()> {
    let file = args.to.extension().is_some_and(|e| e == "safetensors");
    let format = match args.format {
        None if file => Format::SingleFile,
        None => Format::Diffusers,
        Some(format) => format,
    };
    if (format == Format::SingleFile) != file {
        return Err(BadInput::new(format!(
            "--to {}: a single file ends in .safetensors, a folder does not\n  hint: another name, or another --format",
            args.to.display()
        )));
    }
    if args.link && format == Format::SingleFile {
        return Err(BadInput::new(
            "--link: a single file holds all weights itself\n  hint: leave --link away, or write a folder",
        ));
    }
    // Checked before minutes are spent on loading.
    let staging = match format {
        Format::Diffusers => Some(Staging::begin(&args.to)?),
        Format::SingleFile => None,
    };
    let model = Model::find(&args.checkpoint)?;
    let (base, variant) = (model.folder.as_path(), Some(model.variant.as_str()));
    let precision = args.dtype.into();
    match staging {
        Some(staging) => {
            export::copy_rest(base, staging.path(), variant, args.link)?;
            export::write_unet(
                base,
                staging.path(),
                model.unet(),
                precision,
                &model.metadata,
            )?;
            staging.finish()?;
        }
        None => {
            let title = args.to.file_stem().unwrap_or_default().to_string_lossy();
            let about = |family| {
                let mut metadata = model.metadata.clone();
                metadata.extend(model_spec(family, model.prediction, model.size, &title));
                metadata
            };
            export::write_single_file(base, variant, model.unet(), &args.to, precision, about)?;
        }
    }
    println!("{}", args.to.display());
    Ok(())
}

/// What is exported: a checkpoint of a run with the rest of its base model, or a model folder as it is.
struct Model {
    folder: PathBuf,
    variant: String,
    prediction: PredictionType,
    /// Side of the pictures in pixels.
    size: usize,
    metadata: BTreeMap<String, String>,
    weights: Weights,
}

enum Weights {
    Trained(Params),
    Stored(Archive),
}

impl Model {
    fn find(args: &CheckpointArgs) -> Result<Self> {
        if args.run.join("model_index.json").is_file() {
            return Self::in_folder(args);
        }
        let found = args.find(false)?;
        let (setup, cell) = (&found.setup, &found.cell);
        let arm = &setup.arms[cell.arm];
        let unet = match kept::load(setup, arm, &found.folder, found.step, 1.0)? {
            Some(trained) => trained.merged(setup.base())?,
            None => setup.pipeline.unet_params.clone(),
        };
        let mut metadata = pt();
        metadata.insert("rpo.trajectory".into(), cell.id.clone());
        metadata.insert("rpo.step".into(), found.step.to_string());
        metadata.insert("rpo.inputs".into(), setup.inputs_hash.clone());
        Ok(Self {
            folder: setup.pipeline.folder.clone(),
            variant: setup.experiment.model.variant.clone(),
            prediction: setup.pipeline.schedule.prediction_type,
            size: setup.size as usize,
            metadata,
            weights: Weights::Trained(unet),
        })
    }

    /// Loads nothing yet: tensors are read when they are written.
    fn in_folder(args: &CheckpointArgs) -> Result<Self> {
        args.refuse_choice()?;
        let folder = args.run.clone();
        let config = |path: &str| folder.join(path);
        let schedule = NoiseSchedule::load(&config("scheduler/scheduler_config.json"));
        let unet = UNetConfig::load(&config("unet/config.json")).or_bad_input("model")?;
        let vae = VaeConfig::load(&config("vae/config.json")).or_bad_input("model")?;
        let weights = open_archive(&config("unet"), None).or_bad_input("model")?;
        Ok(Self {
            prediction: schedule.or_bad_input("model")?.prediction_type,
            size: unet.sample_size.unwrap_or(64) * vae.factor(),
            variant: String::new(),
            metadata: pt(),
            weights: Weights::Stored(weights),
            folder,
        })
    }

    fn unet(&self) -> Vec<Item<'_>> {
        match &self.weights {
            Weights::Trained(params) => params.items(),
            Weights::Stored(archive) => archive.items(),
        }
    }
}

/// Arguments of `import`.
#[derive(Args)]
pub(super) struct ImportArgs {
    /// Single-file checkpoint of Stable Diffusion 1.x, 2.x or XL, as safetensors
    file: PathBuf,
    /// Diffusers folder, or repository `org/name`, of a model of the same architecture, from which configurations, tokenizers
    /// and scheduler are copied, because the file has none
    #[arg(long)]
    config_from: String,
    /// Where to write: a new folder
    #[arg(long)]
    to: PathBuf,
    /// dtype of the weights; default: as in the file
    #[arg(long, value_enum)]
    dtype: Option<Dtype>,
}

/// Writes a model folder and prints its path.
pub(super) fn import(args: &ImportArgs) -> Result<()> {
    let configurations = paths::find_weights(
        &args.config_from,
        Path::new("."),
        Content::Configurations,
        None,
        &Environment::of_process(),
        None,
    )?;
    let precision = args.dtype.map(Precision::from);
    let (family, passed_over) =
        export::import(&args.file, &configurations.folder, &args.to, precision)?;
    println!("{family}");
    if !passed_over.is_empty() {
        println!(
            "{} tensors of the file are read by no part, {} among them",
            passed_over.len(),
            passed_over[0]
        );
    }
    println!("{}", args.to.display());
    Ok(())
}
