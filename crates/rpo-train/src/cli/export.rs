//! `rpo-train export`: a checkpoint of a run, or a model folder, as a whole model for other programs. `rpo-train import`: the reverse.

use super::checkpoint::CheckpointArgs;
use crate::export::{self, How, Staging};
use crate::files;
use crate::hub::{Content, Environment};
use crate::paths;
use crate::thing::Thing;
use anyhow::Result;
use clap::{Args, ValueEnum};
use rpo_diffusion::textual_inversion;
use rpo_diffusion::{UNetConfig, VaeConfig, Word, check_folder};
use rpo_encoders::folder::open_archive;
use rpo_files::failure::{BadInput, OrBadInput};
use rpo_files::printable::printable_name;
use rpo_files::{say, tell};
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
    /// dtype of the weights of all parts
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
    export::refuse_occupied(&args.to)?;
    let model = Model::find(&args.checkpoint)?;
    if format == Format::SingleFile && !model.words.is_empty() {
        export::refuse_occupied(&embedding(&args.to))?;
    }
    let (base, variant) = (model.folder.as_path(), Some(model.variant.as_str()));
    export::refuse_within(base, &args.to)?;
    export::check_links(base)?;
    check_folder(base, variant).or_bad_input("model")?;
    let precision = args.dtype.into();
    match format {
        Format::Diffusers => {
            let staging = Staging::begin(&args.to)?;
            let trained = &ENCODERS[..model.text_encoders.len()];
            let how = How {
                variant,
                link: args.link,
                precision,
                trained,
            };
            export::copy_rest(base, staging.path(), how)?;
            export::write_unet(
                base,
                staging.path(),
                model.unet(),
                precision,
                &model.metadata,
            )?;
            for (part, encoder) in trained.iter().zip(&model.text_encoders) {
                let folder = staging.path().join(part);
                let items = encoder.items();
                export::write_weights(&folder, "model", items, precision, &model.metadata)?;
            }
            if let Some(word) = model.words.first() {
                let bytes = textual_inversion::to_bytes(word)?;
                files::write(&staging.path().join(textual_inversion::FILE), &bytes)?;
            }
            staging.finish()?;
        }
        Format::SingleFile => {
            let mut own = vec![("unet", model.unet())];
            for (part, encoder) in ENCODERS.into_iter().zip(&model.text_encoders) {
                own.push((part, encoder.items()));
            }
            export::write_single_file(
                base,
                variant,
                own,
                &args.to,
                precision,
                model.size,
                model.metadata.clone(),
            )?;
            if let Some(word) = model.words.first() {
                files::write(&embedding(&args.to), &textual_inversion::to_bytes(word)?)?;
            }
        }
    }
    say!("{}", args.to.display());
    if let Some(word) = model.words.first() {
        let file = match format {
            Format::Diffusers => args.to.join(textual_inversion::FILE),
            Format::SingleFile => embedding(&args.to),
        };
        say!("{}", file.display());
        tell!(
            "`{}` is a new word: load this embedding beside the model",
            word.token
        );
    }
    Ok(())
}

/// Where the new word of a single file is written.
fn embedding(file: &Path) -> PathBuf {
    file.with_extension("embedding.safetensors")
}

/// What is exported: a checkpoint of a run with the rest of its base model, or a model folder as it is.
struct Model {
    folder: PathBuf,
    variant: String,
    /// Side of the pictures in pixels.
    size: usize,
    metadata: BTreeMap<String, String>,
    weights: Weights,
    /// Trained text encoders, in the model's order.
    text_encoders: Vec<Params>,
    words: Vec<Word>,
}

/// The folders of the text encoders.
const ENCODERS: [&str; 2] = ["text_encoder", "text_encoder_2"];

enum Weights {
    Trained(Params),
    Stored(Archive),
}

impl Model {
    fn find(args: &CheckpointArgs) -> Result<Self> {
        match Thing::at(&args.run) {
            Some(Thing::Run) => {}
            Some(Thing::Model) => return Self::in_folder(args, args.run.clone()),
            Some(other) => {
                let wanted = "a run folder or a model folder is exported";
                return Err(BadInput::new(other.refused(&args.run, wanted)));
            }
            None => return Self::in_folder(args, paths::argument(&args.run, Content::Pipeline)?),
        }
        let found = args.find(false)?;
        let (setup, cell) = (&found.setup, &found.cell);
        let (step, trained) = found.load(1.0)?;
        let (unet, text_encoders, words) = match trained {
            Some(trained) => (
                trained.merged(setup.base())?,
                trained.text_encoders()?,
                trained.words()?,
            ),
            None => (setup.pipeline.unet_params.clone(), Vec::new(), Vec::new()),
        };
        let mut metadata = pt();
        metadata.insert("rpo.trajectory".into(), cell.id.clone());
        metadata.insert("rpo.step".into(), step.to_string());
        metadata.insert("rpo.inputs".into(), setup.inputs_hash.clone());
        Ok(Self {
            folder: setup.pipeline.folder.clone(),
            variant: setup.experiment.model.variant.clone(),
            size: setup.size as usize,
            metadata,
            weights: Weights::Trained(unet),
            text_encoders,
            words,
        })
    }

    /// Loads nothing yet: tensors are read when they are written.
    fn in_folder(args: &CheckpointArgs, folder: PathBuf) -> Result<Self> {
        args.refuse_choice()?;
        let config = |path: &str| folder.join(path);
        let unet = UNetConfig::load(&config("unet/config.json")).or_bad_input("model")?;
        let vae = VaeConfig::load(&config("vae/config.json")).or_bad_input("model")?;
        let weights = open_archive(&config("unet"), None).or_bad_input("model")?;
        Ok(Self {
            size: unet.sample_size.unwrap_or(64) * vae.factor(),
            variant: String::new(),
            metadata: pt(),
            weights: Weights::Stored(weights),
            text_encoders: Vec::new(),
            words: Vec::new(),
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
    match Thing::at(&args.file) {
        Some(
            Thing::Checkpoint | Thing::Weights | Thing::LoraFile | Thing::File | Thing::Pickle,
        )
        | None => {}
        Some(other) => {
            let wanted = "import reads a single-file checkpoint";
            return Err(BadInput::new(other.refused(&args.file, wanted)));
        }
    }
    let configurations = paths::find_weights(
        &args.config_from,
        Path::new("."),
        Content::Configurations,
        None,
        &Environment::of_process(),
        None,
    )?;
    let precision = args.dtype.map(Precision::from);
    let imported = export::import(&args.file, &configurations.folder, &args.to, precision)?;
    say!("{}", imported.family);
    if let Some(first) = imported.passed_over.first() {
        say!(
            "{} tensors of the file are read by no part, {} among them",
            imported.passed_over.len(),
            printable_name(first)
        );
    }
    if let Some(changed) = imported.changed {
        say!("{changed}");
    }
    say!("{}", args.to.display());
    Ok(())
}
