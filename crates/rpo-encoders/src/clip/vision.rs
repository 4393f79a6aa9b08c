//! CLIP's vision tower.

use candle_core::{Result, Tensor};
use rpo_nn::Place;
use rpo_nn::frozen::first_tokens;
use rpo_nn::layers::LayerNorm;
use rpo_nn::ops::Mask;
use rpo_nn::weights::Scope;

use super::{ClipVisionConfig, LAYER};
use crate::activation;
use crate::patches::PatchEmbedding;
use crate::transformer::{Layer, Norm, Width};

/// `CLIPVisionModel`: patches and a class token, a norm, pre-norm layers, a norm over the class token.
#[derive(Debug, Clone)]
pub struct ClipVisionModel {
    embedding: PatchEmbedding,
    pre_norm: LayerNorm,
    layers: Vec<Layer>,
    post_norm: LayerNorm,
    place: Place,
}

/// Output of the vision tower for `B` images of `N` patches, on the CPU.
#[derive(Debug, Clone)]
pub struct ClipVisionOutput {
    /// `[B, 1 + N, D]`, no norm after the last layer.
    pub last_hidden_state: Tensor,
    /// `[B, D]`: the class token after the last norm.
    pub pooled: Tensor,
}

impl ClipVisionModel {
    /// Builds the tower from the tensors below `scope`, with or without the prefix `vision_model`. They are on the CPU; the tower
    /// computes at `place`, in f32.
    ///
    /// # Errors
    /// If the config is inconsistent, or a tensor is missing or has another shape.
    pub fn new(config: &ClipVisionConfig, scope: &Scope, place: &Place) -> Result<Self> {
        let place = place.in_f32();
        let scope = if scope.contains("vision_model.post_layernorm.weight") {
            scope.sub("vision_model")
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
        let layers = scope.sub("encoder").sub("layers").at(&place)?;
        let norm = |name: &str| {
            let scope = scope.sub(name).at(&place)?;
            LayerNorm::new(&scope, hidden, config.layer_norm_eps)
        };
        Ok(Self {
            embedding: PatchEmbedding::new(
                &embeddings
                    .sub("patch_embedding")
                    .conv("weight", [hidden, config.num_channels, ph, pw])?,
                None,
                embeddings.tensor("class_embedding", &[hidden])?,
                embeddings
                    .sub("position_embedding")
                    .tensor("weight", &[1 + patches, hidden])?,
                config.image_size,
                &place,
            )?,
            // The misspelling is in every CLIP file.
            pre_norm: norm("pre_layrnorm")?,
            layers: (0..config.num_hidden_layers)
                .map(|index| Layer::new(&width, Norm::Pre, &LAYER, &layers.sub(index)))
                .collect::<Result<_>>()?,
            post_norm: norm("post_layernorm")?,
            place,
        })
    }

    /// Encodes pixels `[B, H, W, 3]` of the config's image size.
    ///
    /// # Errors
    /// Pixels of another size.
    pub fn forward(&self, pixels: &Tensor) -> Result<ClipVisionOutput> {
        let x = self.layers(pixels)?;
        Ok(ClipVisionOutput {
            last_hidden_state: self.place.leave(&x)?,
            pooled: self.place.leave(&self.pool(&x)?)?,
        })
    }

    /// The class token `[B, D]` after the last norm, at the tower's place.
    ///
    /// # Errors
    /// Pixels of another size.
    pub(crate) fn pooled(&self, pixels: &Tensor) -> Result<Tensor> {
        self.pool(&self.layers(pixels)?)
    }

    fn pool(&self, x: &Tensor) -> Result<Tensor> {
        self.post_norm.forward(&first_tokens(x)?)
    }

    fn layers(&self, pixels: &Tensor) -> Result<Tensor> {
        let mut x = self.pre_norm.forward(&self.embedding.forward(pixels)?)?;
        for layer in &self.layers {
            x = layer.forward(&x, &Mask::None)?;
        }
        Ok(x)
    }
}
