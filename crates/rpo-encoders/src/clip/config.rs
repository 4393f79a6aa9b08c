//! `config.json` of `CLIPModel`, `CLIPTextModel` and `CLIPVisionModelWithProjection`; missing keys have transformers' defaults.

use std::path::Path;

use candle_core::{Result, bail};
use serde::Deserialize;

use crate::limits::{self, Layers, within};
use crate::patches::Extent;

use crate::folder;

/// The text tower.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct ClipTextConfig {
    /// Number of token ids.
    pub vocab_size: usize,
    /// Width of the tokens.
    pub hidden_size: usize,
    /// Width inside the feed-forward part.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Heads of the attention.
    pub num_attention_heads: usize,
    /// Longest sequence.
    pub max_position_embeddings: usize,
    /// Activation of the feed-forward part, by transformers' name.
    pub hidden_act: String,
    /// Epsilon of the layer norms.
    pub layer_norm_eps: f64,
    /// The id at whose first position the pooled output is read; 2 means "the highest id", see [`super::ClipTextModel`].
    pub eos_token_id: u32,
    /// Width of the pooled output's projection, if the weights have one (`CLIPTextModelWithProjection`).
    pub projection_dim: usize,
    /// Whether diffusers' pipelines mask the padding, which is not done here.
    pub use_attention_mask: bool,
}

impl Default for ClipTextConfig {
    fn default() -> Self {
        Self {
            vocab_size: 49408,
            hidden_size: 512,
            intermediate_size: 2048,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: "quick_gelu".to_string(),
            layer_norm_eps: 1e-5,
            eos_token_id: 49407,
            projection_dim: 512,
            use_attention_mask: false,
        }
    }
}

/// The vision tower.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct ClipVisionConfig {
    /// Width of the tokens.
    pub hidden_size: usize,
    /// Width inside the feed-forward part.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Heads of the attention.
    pub num_attention_heads: usize,
    /// Channels of the image.
    pub num_channels: usize,
    /// Size of the image.
    pub image_size: Extent,
    /// Size of a patch.
    pub patch_size: Extent,
    /// Activation of the feed-forward part, by transformers' name.
    pub hidden_act: String,
    /// Epsilon of the layer norms.
    pub layer_norm_eps: f64,
}

impl Default for ClipVisionConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            num_channels: 3,
            image_size: Extent::Square(224),
            patch_size: Extent::Square(32),
            hidden_act: "quick_gelu".to_string(),
            layer_norm_eps: 1e-5,
        }
    }
}

/// Both towers.
#[derive(Debug, Clone, PartialEq)]
pub struct ClipConfig {
    /// The text tower.
    pub text: ClipTextConfig,
    /// The vision tower.
    pub vision: ClipVisionConfig,
    /// Width of the common space.
    pub projection_dim: usize,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    text_config: Option<ClipTextConfig>,
    #[serde(default)]
    vision_config: Option<ClipVisionConfig>,
    /// Old files have this key in addition, and it takes precedence.
    #[serde(default)]
    text_config_dict: Option<ClipTextConfig>,
    #[serde(default)]
    vision_config_dict: Option<ClipVisionConfig>,
    projection_dim: Option<usize>,
}

impl ClipConfig {
    /// Reads `config.json` of a `CLIPModel` folder.
    ///
    /// # Errors
    /// See [`folder::read_json`]; also if a number is out of bounds.
    pub fn load(dir: &Path) -> Result<Self> {
        let file: File = folder::read_config(dir)?;
        let projection_dim = file.projection_dim.unwrap_or(512);
        let text = file.text_config_dict.or(file.text_config);
        let config = Self {
            // The projection belongs to the whole model: its width in the text tower's table is always wrong.
            text: ClipTextConfig {
                projection_dim,
                ..text.unwrap_or_default()
            },
            vision: file
                .vision_config_dict
                .or(file.vision_config)
                .unwrap_or_default(),
            projection_dim,
        };
        limits::in_file(dir, "config.json", config.check())?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        within("projection_dim", self.projection_dim, 1, 1 << 16)?;
        self.text.check("text_config.")?;
        self.vision.check("vision_config.")
    }
}

/// The vision tower with its projection.
#[derive(Debug, Clone, PartialEq)]
pub struct ClipImageConfig {
    /// The tower.
    pub vision: ClipVisionConfig,
    /// Width of the projection.
    pub projection_dim: usize,
}

impl ClipImageConfig {
    /// Reads `config.json` of a `CLIPModel` or `CLIPVisionModelWithProjection` folder.
    ///
    /// # Errors
    /// See [`folder::read_json`]; also if it is of another model, or a number is out of bounds.
    pub fn load(dir: &Path) -> Result<Self> {
        #[derive(Deserialize)]
        struct Top {
            model_type: Option<String>,
            projection_dim: Option<usize>,
        }
        let top: Top = folder::read_config(dir)?;
        let config = match top.model_type.as_deref() {
            Some("clip") => {
                let whole = ClipConfig::load(dir)?;
                Self {
                    vision: whole.vision,
                    projection_dim: whole.projection_dim,
                }
            }
            Some("clip_vision_model") => Self {
                vision: folder::read_config(dir)?,
                projection_dim: top.projection_dim.unwrap_or(512),
            },
            other => bail!(
                "{}, key `model_type`: {} is not CLIP; it must be clip or clip_vision_model",
                dir.join("config.json").display(),
                other.unwrap_or("(missing)")
            ),
        };
        let within = within("projection_dim", config.projection_dim, 1, 1 << 16)
            .and_then(|()| config.vision.check(""));
        limits::in_file(dir, "config.json", within)?;
        Ok(config)
    }
}

impl ClipTextConfig {
    /// Reads `config.json` of a `CLIPTextModel` folder (`text_encoder` of a Stable Diffusion pipeline).
    ///
    /// # Errors
    /// See [`folder::read_json`]; also if a number is out of bounds.
    pub fn load(dir: &Path) -> Result<Self> {
        let config: Self = folder::read_config(dir)?;
        limits::in_file(dir, "config.json", config.check(""))?;
        Ok(config)
    }

    fn check(&self, prefix: &str) -> Result<()> {
        let layers = Layers {
            prefix,
            hidden: self.hidden_size,
            intermediate: self.intermediate_size,
            layers: self.num_hidden_layers,
            heads: self.num_attention_heads,
            eps: self.layer_norm_eps,
            activation: &self.hidden_act,
        };
        layers.check()?;
        limits::tables(prefix, self.vocab_size, self.max_position_embeddings)?;
        within(
            format!("{prefix}projection_dim"),
            self.projection_dim,
            1,
            1 << 16,
        )?;
        if self.use_attention_mask {
            bail!(
                "key `{prefix}use_attention_mask`: true is not read here\n  hint: the padding of a text is never masked; set false if the model was trained so"
            );
        }
        Ok(())
    }
}

impl ClipVisionConfig {
    fn check(&self, prefix: &str) -> Result<()> {
        let layers = Layers {
            prefix,
            hidden: self.hidden_size,
            intermediate: self.intermediate_size,
            layers: self.num_hidden_layers,
            heads: self.num_attention_heads,
            eps: self.layer_norm_eps,
            activation: &self.hidden_act,
        };
        layers.check()?;
        limits::image(prefix, self.image_size, self.patch_size, self.num_channels)
    }
}
