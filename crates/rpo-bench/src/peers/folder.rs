//! Folders that both sides can express: the embedded model has GroupNorms of 16 groups and a VAE without attention, which
//! candle-transformers has not.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Result, Tensor, bail};
use rpo_data::random;
use rpo_diffusion::{AutoencoderKL, UNet2DConditionModel, UNetConfig, VaeConfig};
use rpo_nn::weights::{Params, Scope};

use super::WEIGHTS;

/// Stable Diffusion 1.5's, with fewer channels.
const UNET: &str = r#"{"_class_name": "UNet2DConditionModel", "act_fn": "silu", "attention_head_dim": 8,
"block_out_channels": [32, 64, 128, 128], "center_input_sample": false, "cross_attention_dim": 64,
"down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
"downsample_padding": 1, "flip_sin_to_cos": true, "freq_shift": 0, "in_channels": 4, "layers_per_block": 2,
"mid_block_scale_factor": 1, "norm_eps": 1e-05, "norm_num_groups": 32, "out_channels": 4, "sample_size": 16,
"up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"]}"#;

/// Stable Diffusion 1.5's, with fewer channels.
const VAE: &str = r#"{"_class_name": "AutoencoderKL", "act_fn": "silu", "block_out_channels": [32, 64, 128, 128],
"down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"],
"in_channels": 3, "latent_channels": 4, "layers_per_block": 2, "norm_num_groups": 32, "out_channels": 3, "sample_size": 128,
"up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"]}"#;

/// Writes `unet/` and `vae/` of Stable Diffusion 1.5's shape, narrow and with random weights.
///
/// # Errors
/// If a file cannot be written.
pub fn small_sd(to: &Path) -> Result<()> {
    let unet = UNetConfig::from_json(UNET, "unet")?;
    let vae = VaeConfig::from_json(VAE, "vae")?;
    write(&to.join("unet"), UNET, |scope| {
        UNet2DConditionModel::new(&unet, scope).map(drop)
    })?;
    write(&to.join("vae"), VAE, |scope| {
        AutoencoderKL::new(&vae, scope).map(drop)
    })
}

/// Writes the embedded model's U-Net with `norm_num_groups` 32 in place of 16: the same weights and as much work, and both sides
/// can express it.
///
/// # Errors
/// If a file cannot be read or written.
pub fn micro_unet_of_32_groups(to: &Path) -> Result<()> {
    let from = crate::micro().join("unet");
    let config = fs::read_to_string(from.join("config.json"))?;
    let key = "\"norm_num_groups\": ";
    let changed = config.replace(&format!("{key}16"), &format!("{key}32"));
    if changed == config {
        bail!("the embedded U-Net has not {key}16: compare on it as it is");
    }
    fs::create_dir_all(to)?;
    fs::write(to.join("config.json"), changed)?;
    fs::copy(from.join(WEIGHTS), to.join(WEIGHTS))?;
    Ok(())
}

/// Writes a copy of the U-Net's or VAE's folder `from` in which `change` has had its way with every tensor, in f32.
///
/// # Errors
/// If a file cannot be read or written; those of `change`.
pub fn with_tensors(
    from: &Path,
    to: &Path,
    change: impl Fn(&str, Tensor) -> Result<Tensor>,
) -> Result<()> {
    let mut tensors = HashMap::new();
    for (name, tensor) in candle_core::safetensors::load(from.join(WEIGHTS), &Device::Cpu)? {
        let changed = change(&name, tensor.to_dtype(DType::F32)?)?;
        tensors.insert(name, changed);
    }
    fs::create_dir_all(to)?;
    fs::copy(from.join("config.json"), to.join("config.json"))?;
    candle_core::safetensors::save(&tensors, to.join(WEIGHTS))
}

/// Standard normal numbers of the stream `name`.
///
/// # Errors
/// Those of tensors.
pub fn normal(name: &str, dims: &[usize]) -> Result<Tensor> {
    let values = random::normal(
        &mut random::stream(0, "peers", &[name]),
        dims.iter().product(),
    );
    Tensor::from_vec(values, dims, &Device::Cpu)
}

/// The tensors that `build` asks for, random.
fn write(dir: &Path, config: &str, build: impl Fn(&Scope) -> Result<()>) -> Result<()> {
    let blank = Params::blank("peers");
    build(&blank.root())?;
    let tensors: Result<HashMap<String, Tensor>> = blank
        .shapes()
        .into_iter()
        .map(|(name, shape)| Ok((name.clone(), random_weight(&name, &shape)?)))
        .collect();
    fs::create_dir_all(dir)?;
    fs::write(dir.join("config.json"), config)?;
    candle_core::safetensors::save(&tensors?, dir.join(WEIGHTS))
}

/// Scaled so that what flows through the network stays about as large: a layer that only sees tiny numbers tests little.
pub(super) fn random_weight(name: &str, shape: &[usize]) -> Result<Tensor> {
    let random = normal(name, shape)?;
    match shape {
        [_] if name.ends_with("weight") => (random * 0.1)? + 1.0,
        [_] => random * 0.1,
        _ => random * (shape[1..].iter().product::<usize>() as f64).powf(-0.5),
    }
}
