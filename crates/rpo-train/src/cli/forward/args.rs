//! Arguments of `forward`.

use crate::cli::numbers::finite;
use anyhow::Result;
use clap::{Args, ValueEnum};
use rpo_files::failure::BadInput;
use rpo_pref::recipe::Preset;
use std::path::PathBuf;

/// The part of a model to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Part {
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
pub(in crate::cli) struct ForwardArgs {
    /// Folder of the model, or of the part alone: what diffusers or transformers saved
    #[arg(long)]
    pub(super) model: PathBuf,
    /// What to run
    #[arg(long, value_enum)]
    pub(super) part: Part,
    /// safetensors file with the inputs, in PyTorch's layout
    #[arg(long)]
    pub(super) inputs: Option<PathBuf>,
    /// Picture files in place of `pixel_values` (align, clip, vit)
    #[arg(long = "picture", num_args = 1.., value_name = "FILE")]
    pub(super) pictures: Vec<PathBuf>,
    /// Texts in place of token ids (text, align, clip)
    #[arg(long = "text", num_args = 1..)]
    pub(super) texts: Vec<String>,
    /// Where to compute: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu", conflicts_with = "grad")]
    pub(super) device: String,
    /// dtype of activations on a GPU (unet, vae-encode, vae-decode; encoders compute in f32): f32 or bf16
    #[arg(long, default_value = "f32")]
    pub(super) dtype: String,
    /// safetensors file for the results
    #[arg(long)]
    pub(super) output: PathBuf,
    /// With `--part unet`, or `--part text` of a whole model: LoRA file, or the folder of a kept checkpoint, to apply to the weights
    #[arg(long, value_name = "FILE", conflicts_with = "grad")]
    pub(super) lora: Option<PathBuf>,
    /// With `--lora`: scale of the LoRA
    #[arg(
        long,
        default_value_t = 1.0,
        requires = "lora",
        allow_negative_numbers = true,
        value_parser = finite
    )]
    pub(super) lora_scale: f64,
    /// With `--part text` and `--text`, of a whole model: embedding of textual inversion, or a LoRA file with bundled ones, whose words the texts hold
    #[arg(long, value_name = "FILE", conflicts_with = "grad")]
    pub(super) embedding: Option<PathBuf>,
    /// With `--part unet`: losses and all gradients of one RPO step
    #[arg(long, value_name = "RECIPE", num_args = 0..=1, default_missing_value = "official")]
    pub(super) grad: Option<String>,
    /// With `--grad`: the recipe by name, the same as `--grad NAME`
    #[arg(long, requires = "grad")]
    pub(super) recipe: Option<String>,
    /// With `--grad`: the frozen reference; default: the model itself, as at the first step
    #[arg(long, requires = "grad")]
    pub(super) base: Option<PathBuf>,
    /// With `--grad`: recompute blocks in the backward pass, which saves memory
    #[arg(long, requires = "grad")]
    pub(super) recompute: bool,
    /// With `--grad`: β instead of the recipe's
    #[arg(long, requires = "grad")]
    pub(super) beta: Option<f64>,
}

/// A recipe by its name.
pub(super) fn preset(name: &str) -> Result<Preset> {
    let known = Preset::ALL.iter().find(|p| p.name() == name);
    known.copied().ok_or_else(|| {
        let names: Vec<&str> = Preset::ALL.iter().map(|p| p.name()).collect();
        BadInput::new(format!(
            "no recipe `{name}`\n  hint: one of {}",
            names.join(", ")
        ))
    })
}
