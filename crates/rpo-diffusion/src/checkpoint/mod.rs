//! Single-file checkpoints, as read by the original code of Stable Diffusion, ComfyUI and A1111: all parts of a model in one
//! safetensors file, with other names than in a diffusers folder.
//!
//! | part | names in the file begin with | differences in values |
//! |---|---|---|
//! | `unet` | `model.diffusion_model.` | none |
//! | `vae` | `first_stage_model.` | the middle attention's matrices are 1x1 kernels |
//! | `text_encoder` of 1.x | `cond_stage_model.transformer.` | none |
//! | `text_encoder` of 2.x | `cond_stage_model.model.` | query, key and value are one matrix |
//! | `text_encoder` of XL | `conditioner.embedders.0.transformer.` | none |
//! | `text_encoder_2` of XL | `conditioner.embedders.1.model.` | as 2.x; the text projection is transposed |
//!
//! Files in the spellings of other programs are read too: `spelling.rs`.

mod besides;
mod foreign;
mod kind;
mod map;
mod marks;
mod model_spec;
mod single_file;
mod spelling;
mod text;
mod unet;
mod vae;

use std::path::Path;

use candle_core::{Result, bail};
use rpo_encoders::clip::ClipTextConfig;

use crate::unet::UNetConfig;
use crate::vae::VaeConfig;

pub use foreign::is_lora;
pub use kind::family;
pub use map::{Change, Counterpart, NameMap};
pub use marks::{Marks, V_PRED, ZERO_SNR, marks};
pub use model_spec::model_spec;
pub use single_file::{Folders, to_file, to_folders};

/// Family of a model: which text encoders a file has, and under which names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Stable Diffusion 1.x: CLIP.
    Sd1,
    /// Stable Diffusion 2.x: OpenCLIP.
    Sd2,
    /// Stable Diffusion XL base: CLIP and OpenCLIP.
    Sdxl,
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sd1 => "Stable Diffusion 1.x",
            Self::Sd2 => "Stable Diffusion 2.x",
            Self::Sdxl => "Stable Diffusion XL",
        })
    }
}

/// The names of a whole model, as determined by its configurations.
#[derive(Clone, Debug)]
pub struct Names {
    /// Its family.
    pub family: Family,
    /// Folder and names of each part with weights.
    pub parts: Vec<(&'static str, NameMap)>,
}

impl Names {
    /// The names of a model with these configurations. `layers`: number of layers of the text encoder in OpenCLIP's format.
    pub fn new(family: Family, unet: &UNetConfig, vae: &VaeConfig, layers: usize) -> Self {
        let prefix = |second| spelling::text_prefix(family, second);
        let mut parts = vec![("unet", unet::names(unet)), ("vae", vae::names(vae))];
        match family {
            Family::Sd1 => {
                parts.push(("text_encoder", text::clip_names(prefix(false))));
            }
            Family::Sd2 => {
                let names = text::open_clip_names(prefix(false), layers, false);
                parts.push(("text_encoder", names));
            }
            Family::Sdxl => {
                let names = text::clip_names(prefix(false));
                parts.push(("text_encoder", names));
                let names = text::open_clip_names(prefix(true), layers, true);
                parts.push(("text_encoder_2", names));
            }
        }
        Self { family, parts }
    }

    /// The names of the diffusers folder `dir`, from its configurations: XL has a second text encoder, 2.x linear projections.
    ///
    /// # Errors
    /// If a configuration is missing or not supported, by file and key.
    pub fn of_folder(dir: &Path) -> Result<Self> {
        let unet = UNetConfig::load(&dir.join("unet/config.json"))?;
        let vae = VaeConfig::load(&dir.join("vae/config.json"))?;
        let xl = unet.takes_added();
        let second = dir.join("text_encoder_2");
        if xl != second.is_dir() {
            bail!(
                "{}: a U-Net {} added text embedding, and a folder {} a second text encoder: the parts must come from one model",
                dir.display(),
                if xl { "with" } else { "without" },
                if xl { "without" } else { "with" },
            )
        }
        let family = match (xl, unet.use_linear_projection) {
            (true, _) => Family::Sdxl,
            (false, true) => Family::Sd2,
            (false, false) => Family::Sd1,
        };
        let text = if xl { second } else { dir.join("text_encoder") };
        let layers = ClipTextConfig::load(&text)?.num_hidden_layers;
        Ok(Self::new(family, &unet, &vae, layers))
    }
}
