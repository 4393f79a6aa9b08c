//! candle-transformers' Stable Diffusion, read from the folders that ours is read from: an implementation that shares no code with
//! ours, to compare with and to time. Numbers come from one file, sizes from one `config.json`.
//!
//! What a folder asks for and candle-transformers 0.11 cannot do is refused here and not computed otherwise. What it computes
//! otherwise for every folder is the tanh GELU in the U-Net's feed-forward layers, where diffusers has the exact one;
//! `tests/peers.rs` holds that to be the only difference.

mod folder;
mod layers;

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Result, Tensor, Var, bail};
use candle_nn::VarBuilder;
use candle_transformers::models::clip::text_model::{
    Activation, ClipTextConfig, ClipTextTransformer,
};
use candle_transformers::models::stable_diffusion::unet_2d::{
    BlockConfig, UNet2DConditionModel, UNet2DConditionModelConfig,
};
use candle_transformers::models::stable_diffusion::vae::{AutoEncoderKL, AutoEncoderKLConfig};
use rpo_diffusion::{UNetConfig, VaeConfig};

pub use folder::{micro_unet_of_32_groups, normal, small_sd, with_tensors};
pub use layers::{Kind, Side, pair};

/// Name of the weights in the folder of a U-Net or a VAE.
const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

/// The groups of the norms in candle-transformers' `DownBlock2D` and `UpBlock2D`, whatever their configuration says.
const GROUPS: usize = 32;

/// The tensors of a safetensors file in f32, under their names.
///
/// # Errors
/// If the file cannot be read.
pub fn weights(file: &Path) -> Result<VarBuilder<'static>> {
    let data = std::fs::read(file)?;
    VarBuilder::from_buffered_safetensors(data, DType::F32, &Device::Cpu)
}

/// [`weights`] as variables, for a backward pass; names and variables besides.
///
/// # Errors
/// If the file cannot be read.
pub fn variables(file: &Path) -> Result<(VarBuilder<'static>, Vec<(String, Var)>)> {
    let mut vars = Vec::new();
    for (name, tensor) in candle_core::safetensors::load(file, &Device::Cpu)? {
        vars.push((name, Var::from_tensor(&tensor.to_dtype(DType::F32)?)?));
    }
    vars.sort_by(|(a, _), (b, _)| a.cmp(b));
    let tensors: HashMap<String, Tensor> = vars
        .iter()
        .map(|(name, var)| (name.clone(), var.as_tensor().clone()))
        .collect();
    let builder = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    Ok((builder, vars))
}

/// Their U-Net of a `unet` folder.
///
/// # Errors
/// A folder that they cannot express: see [`unet_config`], and `norm_num_groups` must be 32. A file that cannot be read, a tensor
/// that is missing.
pub fn unet(dir: &Path) -> Result<UNet2DConditionModel> {
    let ours = UNetConfig::load(&dir.join("config.json"))?;
    build_unet(&ours, weights(&dir.join(WEIGHTS))?)
}

/// [`unet`] on variables.
///
/// # Errors
/// As [`unet`].
pub fn trainable_unet(dir: &Path) -> Result<(UNet2DConditionModel, Vec<(String, Var)>)> {
    let ours = UNetConfig::load(&dir.join("config.json"))?;
    let (builder, vars) = variables(&dir.join(WEIGHTS))?;
    Ok((build_unet(&ours, builder)?, vars))
}

/// [`unet`] without the question about groups: another network than the folder's.
///
/// # Errors
/// As [`unet`].
pub fn unet_whatever_its_groups(dir: &Path) -> Result<UNet2DConditionModel> {
    let ours = UNetConfig::load(&dir.join("config.json"))?;
    new_unet(&ours, weights(&dir.join(WEIGHTS))?)
}

fn build_unet(ours: &UNetConfig, weights: VarBuilder<'_>) -> Result<UNet2DConditionModel> {
    if ours.norm_num_groups != GROUPS {
        bail!(
            "norm_num_groups = {}: candle-transformers' ResNet blocks have {GROUPS}, whatever is asked",
            ours.norm_num_groups
        );
    }
    new_unet(ours, weights)
}

fn new_unet(ours: &UNetConfig, weights: VarBuilder<'_>) -> Result<UNet2DConditionModel> {
    let config = unet_config(ours)?;
    UNet2DConditionModel::new(weights, ours.in_channels, ours.out_channels, false, config)
}

/// What they call our configuration. `norm_num_groups` is passed on, though only 32 is obeyed everywhere.
///
/// # Errors
/// Layers that differ by block; up blocks that do not mirror the down blocks; SDXL's added conditioning.
pub fn unet_config(ours: &UNetConfig) -> Result<UNet2DConditionModelConfig> {
    let levels = 0..ours.blocks();
    let layers_per_block = ours.layers(0);
    if levels.clone().any(|i| ours.layers(i) != layers_per_block) {
        bail!("layers_per_block differs between blocks: candle-transformers has one number");
    }
    if ours.takes_added() {
        bail!("addition_embed_type: candle-transformers has no added conditioning");
    }
    let crosses = |kind: &str| kind.starts_with("CrossAttn");
    let mirrored = ours.up_block_types.iter().rev();
    if !mirrored
        .zip(&ours.down_block_types)
        .all(|(up, down)| crosses(up) == crosses(down))
    {
        bail!("up_block_types do not mirror down_block_types");
    }
    let block = |i: usize| BlockConfig {
        out_channels: ours.block_out_channels[i],
        use_cross_attn: crosses(&ours.down_block_types[i]).then(|| ours.depth(i)),
        attention_head_dim: ours.heads(i),
    };
    Ok(UNet2DConditionModelConfig {
        center_input_sample: false,
        flip_sin_to_cos: ours.flip_sin_to_cos,
        freq_shift: ours.freq_shift,
        blocks: levels.map(block).collect(),
        layers_per_block,
        downsample_padding: 1,
        mid_block_scale_factor: 1.0,
        norm_num_groups: ours.norm_num_groups,
        norm_eps: ours.norm_eps,
        cross_attention_dim: ours.cross_attention_dim,
        sliced_attention_size: None,
        use_linear_projection: ours.use_linear_projection,
    })
}

/// Their VAE of a `vae` folder. On the CPU it is right for one picture at a time: its attention gives a linear layer a transposed
/// batch, which candle-core 0.11 multiplies wrongly (`tests/peer_layers.rs`).
///
/// # Errors
/// A VAE without attention in its middle blocks; a file that cannot be read; a tensor that is missing.
pub fn vae(dir: &Path) -> Result<AutoEncoderKL> {
    let ours = VaeConfig::load(&dir.join("config.json"))?;
    if !ours.mid_block_add_attention {
        bail!(
            "{}: mid_block_add_attention = false: candle-transformers' middle block always has an attention",
            dir.display()
        );
    }
    let config = AutoEncoderKLConfig {
        block_out_channels: ours.block_out_channels.clone(),
        layers_per_block: ours.layers_per_block,
        latent_channels: ours.latent_channels,
        norm_num_groups: ours.norm_num_groups,
        use_quant_conv: ours.use_quant_conv,
        use_post_quant_conv: ours.use_post_quant_conv,
    };
    let weights = weights(&dir.join(WEIGHTS))?;
    AutoEncoderKL::new(weights, ours.in_channels, ours.out_channels, config)
}

/// Their CLIP text encoder of a `text_encoder` folder: the one of `models::clip`, whose sizes can be chosen. That of
/// `models::stable_diffusion::clip` is the same network with seven sets of sizes that cannot be changed.
///
/// # Errors
/// Another activation than `quick_gelu` or another epsilon than 1e-5; a file that cannot be read; a tensor that is missing.
pub fn clip_text(dir: &Path) -> Result<ClipTextTransformer> {
    let ours = rpo_encoders::clip::ClipTextConfig::load(dir)?;
    if ours.hidden_act != "quick_gelu" || ours.layer_norm_eps != 1e-5 {
        bail!(
            "{}: hidden_act {}, layer_norm_eps {}: candle-transformers has quick_gelu and 1e-5",
            dir.display(),
            ours.hidden_act,
            ours.layer_norm_eps
        );
    }
    let config = ClipTextConfig {
        vocab_size: ours.vocab_size,
        embed_dim: ours.hidden_size,
        activation: Activation::QuickGelu,
        intermediate_size: ours.intermediate_size,
        max_position_embeddings: ours.max_position_embeddings,
        pad_with: None,
        num_hidden_layers: ours.num_hidden_layers,
        num_attention_heads: ours.num_attention_heads,
        projection_dim: ours.projection_dim,
    };
    let weights = weights(&dir.join("model.safetensors"))?;
    // transformers 4 writes the prefix, transformers 5 does not.
    let weights = if weights.contains_tensor("text_model.final_layer_norm.weight") {
        weights.pp("text_model")
    } else {
        weights
    };
    ClipTextTransformer::new(weights, &config)
}

/// `[B, H, W, C]` as they take it, `[B, C, H, W]`.
///
/// # Errors
/// If `x` has not four dimensions.
pub fn channels_first(x: &Tensor) -> Result<Tensor> {
    x.permute((0, 3, 1, 2))?.contiguous()
}

/// The inverse of [`channels_first`].
///
/// # Errors
/// If `x` has not four dimensions.
pub fn channels_last(x: &Tensor) -> Result<Tensor> {
    x.permute((0, 2, 3, 1))?.contiguous()
}
