//! `ViTModel`: the vision transformer of DINO and others; the class token is the embedding.
//!
//! Source: `transformers/models/vit/modeling_vit.py`, 5.23.

use std::path::{Path, PathBuf};

use candle_core::{Result, Tensor, bail};
use image::RgbImage;
use ndarray::Array2;
use rpo_nn::Place;
use rpo_nn::frozen::first_tokens;
use rpo_nn::layers::LayerNorm;
use rpo_nn::ops::Mask;
use rpo_nn::weights::Scope;
use serde::Deserialize;

use crate::embeddings::in_batches;
use crate::image_processor::ImageProcessor;
use crate::limits::{self, Layers};
use crate::patches::PatchEmbedding;
use crate::transformer::{Layer, Names, Norm, Width};
use crate::{activation, folder};

pub use crate::patches::Extent;

/// `config.json` of a `ViTModel`; missing keys have transformers' defaults.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct VitConfig {
    /// `vit`, if the file has the key.
    pub model_type: Option<String>,
    /// Width of the tokens.
    pub hidden_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Heads of the attention.
    pub num_attention_heads: usize,
    /// Width inside the feed-forward part.
    pub intermediate_size: usize,
    /// Activation of the feed-forward part, by transformers' name.
    pub hidden_act: String,
    /// Epsilon of the layer norms.
    pub layer_norm_eps: f64,
    /// Size of the image.
    pub image_size: Extent,
    /// Size of a patch.
    pub patch_size: Extent,
    /// Channels of the image.
    pub num_channels: usize,
    /// Whether query, key and value have a bias.
    pub qkv_bias: bool,
}

impl Default for VitConfig {
    fn default() -> Self {
        Self {
            model_type: None,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: "gelu".to_string(),
            layer_norm_eps: 1e-12,
            image_size: Extent::Square(224),
            patch_size: Extent::Square(16),
            num_channels: 3,
            qkv_bias: true,
        }
    }
}

impl VitConfig {
    fn check(&self) -> Result<()> {
        let layers = Layers {
            prefix: "",
            hidden: self.hidden_size,
            intermediate: self.intermediate_size,
            layers: self.num_hidden_layers,
            heads: self.num_attention_heads,
            eps: self.layer_norm_eps,
            activation: &self.hidden_act,
        };
        layers.check()?;
        limits::image("", self.image_size, self.patch_size, self.num_channels)
    }
}

/// The names in files, which transformers 5 still writes although its modules have other names.
const LAYER: Names = Names {
    query: "attention.attention.query",
    key: "attention.attention.key",
    value: "attention.attention.value",
    output: "attention.output.dense",
    attention_norm: "layernorm_before",
    up: "intermediate.dense",
    down: "output.dense",
    mlp_norm: "layernorm_after",
    qkv_bias: true,
};

/// The names of the modules of transformers 5.
const LAYER_5: Names = Names {
    query: "attention.q_proj",
    key: "attention.k_proj",
    value: "attention.v_proj",
    output: "attention.o_proj",
    attention_norm: "layernorm_before",
    up: "mlp.fc1",
    down: "mlp.fc2",
    mlp_norm: "layernorm_after",
    qkv_bias: true,
};

/// The network: patches and a class token, pre-norm layers, a final norm.
#[derive(Debug, Clone)]
pub struct VitModel {
    embedding: PatchEmbedding,
    layers: Vec<Layer>,
    norm: LayerNorm,
    hidden: usize,
    place: Place,
}

impl VitModel {
    /// Builds the network from the tensors below `scope`, with or without the prefix `vit`, in the spelling of
    /// transformers 4 or 5. They are on the CPU; the network computes at `place`, in f32.
    ///
    /// # Errors
    /// If the config is inconsistent, or a tensor is missing or has another shape.
    pub fn new(config: &VitConfig, scope: &Scope, place: &Place) -> Result<Self> {
        let place = place.in_f32();
        let scope = if scope.contains("vit.layernorm.weight") {
            scope.sub("vit")
        } else {
            scope.clone()
        };
        let width = Width {
            hidden: config.hidden_size,
            intermediate: config.intermediate_size,
            heads: config.num_attention_heads,
            eps: config.layer_norm_eps,
            activation: activation::by_name("hidden_act", &config.hidden_act)?,
        };
        width.check()?;
        let hidden = config.hidden_size;
        let patches = PatchEmbedding::patches(config.image_size, config.patch_size)?;
        let (ph, pw) = config.patch_size.sides();
        let embeddings = scope.sub("embeddings");
        let projection = embeddings.sub("patch_embeddings").sub("projection");
        let (names, layers) = if scope.contains("layers.0.layernorm_before.weight") {
            (LAYER_5, scope.sub("layers"))
        } else {
            (LAYER, scope.sub("encoder").sub("layer"))
        };
        let layers = layers.at(&place)?;
        let names = Names {
            qkv_bias: config.qkv_bias,
            ..names
        };
        Ok(Self {
            embedding: PatchEmbedding::new(
                &projection.conv("weight", [hidden, config.num_channels, ph, pw])?,
                Some(projection.tensor("bias", &[hidden])?),
                embeddings.tensor("cls_token", &[1, 1, hidden])?,
                embeddings
                    .tensor("position_embeddings", &[1, 1 + patches, hidden])?
                    .squeeze(0)?,
                config.image_size,
                &place,
            )?,
            layers: (0..config.num_hidden_layers)
                .map(|index| Layer::new(&width, Norm::Pre, &names, &layers.sub(index)))
                .collect::<Result<_>>()?,
            norm: LayerNorm::new(
                &scope.sub("layernorm").at(&place)?,
                hidden,
                config.layer_norm_eps,
            )?,
            hidden,
            place,
        })
    }

    /// Reads `config.json` and the weights of the folder `dir`; the network computes at `place`, in f32.
    ///
    /// # Errors
    /// If a file is missing or malformed, a number is out of bounds, a tensor has no place in the network, or the folder is of another
    /// model; those of the device.
    pub fn load(dir: &Path, place: &Place) -> Result<Self> {
        let config: VitConfig = folder::read_config(dir)?;
        if let Some(kind) = config.model_type.as_deref().filter(|kind| *kind != "vit") {
            bail!(
                "{}, key `model_type`: {kind} is not a ViT; this encoder reads ViTModel folders",
                dir.join("config.json").display()
            );
        }
        limits::in_file(dir, "config.json", config.check())?;
        let params = folder::open_params(dir, false)?;
        let model = Self::new(&config, &params.root(), place)?;
        // What stands after the class token: a pool, a classifier, a decoder of masked patches.
        let other = [
            "pooler.",
            "classifier.",
            "decoder.",
            "embeddings.mask_token",
        ];
        folder::all_read(dir, &params, |name| {
            let name = name.strip_prefix("vit.").unwrap_or(name);
            other.iter().any(|start| name.starts_with(start))
        })?;
        Ok(model)
    }

    /// Pixels `[B, H, W, 3]` of the config's image size to tokens `[B, 1 + patches, D]` after the final norm, on the CPU.
    ///
    /// # Errors
    /// Pixels of another size.
    pub fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        self.place.leave(&self.norm.forward(&self.layers(pixels)?)?)
    }

    /// The class token `[B, D]` after the final norm, on the CPU.
    ///
    /// # Errors
    /// Pixels of another size.
    pub fn class_token(&self, pixels: &Tensor) -> Result<Tensor> {
        let class = first_tokens(&self.layers(pixels)?)?;
        self.place.leave(&self.norm.forward(&class)?)
    }

    fn layers(&self, pixels: &Tensor) -> Result<Tensor> {
        let mut x = self.embedding.forward(pixels)?;
        for layer in &self.layers {
            x = layer.forward(&x, &Mask::None)?;
        }
        Ok(x)
    }

    /// Width of the tokens.
    pub fn hidden_size(&self) -> usize {
        self.hidden
    }
}

/// A `ViTModel` folder with its image processor: pictures in, unit vectors out.
#[derive(Clone)]
pub struct VitEncoder {
    model: VitModel,
    processor: ImageProcessor,
    folder: PathBuf,
}

impl std::fmt::Debug for VitEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VitEncoder")
            .field("folder", &self.folder)
            .field("dim", &self.dim())
            .finish_non_exhaustive()
    }
}

impl VitEncoder {
    /// Reads `config.json`, the weights and `preprocessor_config.json` of the folder `dir`; the network computes at `place`, in f32.
    ///
    /// # Errors
    /// If a file is missing or malformed, or of another model; those of the device.
    pub fn load(dir: &Path, place: &Place) -> Result<Self> {
        Ok(Self {
            model: VitModel::load(dir, place)?,
            processor: ImageProcessor::load(dir)?,
            folder: dir.to_path_buf(),
        })
    }

    /// The class tokens of the pictures, rows of length 1.
    ///
    /// # Errors
    /// If a picture has no pixels or an embedding is not finite.
    pub fn embed_images(&self, pictures: &[RgbImage]) -> Result<Array2<f32>> {
        in_batches(&self.folder, pictures, self.dim(), |batch| {
            self.model.class_token(&self.processor.preprocess(batch)?)
        })
    }

    /// Length of an embedding.
    pub fn dim(&self) -> usize {
        self.model.hidden_size()
    }

    /// The name of the folder, for tables and logs.
    pub fn name(&self) -> String {
        folder::name(&self.folder)
    }

    /// The files that determine the embeddings; hash them for a cache key.
    ///
    /// # Errors
    /// If the weights no longer exist.
    pub fn source_files(&self) -> Result<Vec<PathBuf>> {
        folder::source_files(&self.folder)
    }
}
