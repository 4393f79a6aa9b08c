//! The VAE against diffusers.

use std::collections::HashMap;

use crate::support::{Golden, assert_close, f64s, golden_path, micro_vae};
use candle_core::{DType, Result, Tensor};
use rpo_diffusion::{AutoencoderKL, VaeConfig};
use rpo_nn::weights::Params;

fn weights(golden: &Golden) -> Result<HashMap<String, Tensor>> {
    let f32s = |(k, v): (String, Tensor)| Ok((k, v.to_dtype(DType::F32)?));
    golden.below("weight.").into_iter().map(f32s).collect()
}

fn build(name: &str, weights: HashMap<String, Tensor>) -> Result<AutoencoderKL> {
    let config = VaeConfig::load(&golden_path(&format!("{name}.json")))?;
    let params = Params::from_tensors(weights, name, false)?;
    let vae = AutoencoderKL::new(&config, &params.root())?;
    assert_eq!(params.unused(), Vec::<String>::new());
    Ok(vae)
}

fn tiny(name: &str) -> Result<()> {
    let golden = Golden::load(name)?;
    let vae = build(name, weights(&golden)?)?;
    let posterior = vae.encode(&golden.nhwc("x")?)?;
    assert_close(
        &format!("{name} mean"),
        &posterior.mean,
        &golden.nhwc("mean")?,
        1e-5,
    );
    assert_close(
        &format!("{name} logvar"),
        &posterior.logvar,
        &golden.nhwc("logvar")?,
        1e-5,
    );
    let z = posterior.sample(&golden.nhwc("noise")?)?;
    assert_close(&format!("{name} z"), &z, &golden.nhwc("z")?, 1e-5);
    let decoded = vae.decode(&golden.nhwc("z")?)?;
    assert_close(
        &format!("{name} decoded"),
        &decoded,
        &golden.nhwc("decoded")?,
        1e-5,
    );
    Ok(())
}

#[test]
fn tiny_with_attention_in_the_middle() -> Result<()> {
    tiny("vae_attention")
}

#[test]
fn tiny_without_attention_and_quant_convs() -> Result<()> {
    tiny("vae_plain")
}

#[test]
fn micro() -> Result<()> {
    let golden = Golden::load("micro")?;
    let vae = micro_vae()?;
    assert_eq!(vae.config.factor(), 4);
    let posterior = vae.encode(&golden.nhwc("vae.x")?)?;
    assert_close(
        "micro mean",
        &posterior.mean,
        &golden.nhwc("vae.mean")?,
        1e-5,
    );
    assert_close(
        "micro logvar",
        &posterior.logvar,
        &golden.nhwc("vae.logvar")?,
        1e-5,
    );
    let decoded = vae.decode(&golden.nhwc("vae.mean")?)?;
    assert_close(
        "micro decoded",
        &decoded,
        &golden.nhwc("vae.decoded")?,
        1e-5,
    );
    Ok(())
}

#[test]
fn old_attention_names_mean_the_same() -> Result<()> {
    let golden = Golden::load("vae_attention")?;
    let new = build("vae_attention", weights(&golden)?)?;
    let old_name = |name: &str| {
        [
            ("to_q", "query"),
            ("to_k", "key"),
            ("to_v", "value"),
            ("to_out.0", "proj_attn"),
        ]
        .iter()
        .fold(name.to_owned(), |name, (new, old)| name.replace(new, old))
    };
    let renamed: HashMap<_, _> = weights(&golden)?
        .into_iter()
        .map(|(k, v)| (old_name(&k), v))
        .collect();
    assert!(renamed.contains_key("encoder.mid_block.attentions.0.proj_attn.bias"));
    let old = build("vae_attention", renamed)?;
    let z = golden.nhwc("z")?;
    assert_eq!(f64s(&old.decode(&z)?)?, f64s(&new.decode(&z)?)?);
    Ok(())
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let text = std::fs::read_to_string(golden_path("vae_plain.json")).unwrap();
    for (key, value, word) in [
        ("_class_name", "\"AutoencoderTiny\"", "AutoencoderTiny"),
        ("shift_factor", "0.1", "shift_factor"),
        ("latents_mean", "[0.0]", "latents_mean"),
        (
            "down_block_types",
            "[\"DownEncoderBlock2D\"]",
            "DownEncoderBlock2D",
        ),
        ("norm_num_groups", "3", "norm_num_groups"),
        ("scaling_factor", "0.0", "scaling_factor"),
        ("scaling_factor", "-1", "scaling_factor"),
        ("scaling_factor", "1e300", "scaling_factor"),
        ("scaling_factor", "1e-300", "scaling_factor"),
        ("scaling_factor", "\"NaN\"", "scaling_factor"),
        ("scaling_factor", "null", "scaling_factor"),
        ("latents_std", "[1.0]", "latents_std"),
        ("in_channels", "1", "in_channels"),
        ("out_channels", "4", "out_channels"),
        ("latent_channels", "0", "latent_channels"),
        ("latent_channels", "1000000000000", "latent_channels"),
        ("layers_per_block", "0", "layers_per_block"),
        ("layers_per_block", "1000000000000", "layers_per_block"),
        ("block_out_channels", "[]", "block_out_channels"),
        ("block_out_channels", "[4, 0, 8]", "block_out_channels = 0"),
        ("norm_num_groups", "0", "norm_num_groups"),
        ("norm_num_groups", "null", "norm_num_groups"),
        ("use_quant_conv", "1", "use_quant_conv"),
        ("mid_block_add_attention", "null", "mid_block_add_attention"),
        ("a_new_key", "1", "a_new_key"),
    ] {
        let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
        config[key] = serde_json::from_str(value).unwrap();
        let message = match VaeConfig::from_json(&config.to_string(), "vae/config.json") {
            Ok(_) => panic!("{key} = {value} was accepted"),
            Err(e) => e.to_string(),
        };
        assert!(
            message.contains(word) && message.contains("vae/config.json"),
            "{message}"
        );
    }
}

#[test]
fn pictures_and_latents_that_are_not_finite_are_errors() -> Result<()> {
    let golden = Golden::load("vae_plain")?;
    // Finite weights whose products are not.
    let huge = |part: &str| -> Result<AutoencoderKL> {
        let scaled = weights(&golden)?.into_iter().map(|(name, tensor)| {
            let last = ["conv_norm_out", "conv_out"].map(|l| format!("{part}.{l}.weight"));
            let factor = if last.contains(&name) { 1e30 } else { 1. };
            Ok((name, (tensor * factor)?))
        });
        build("vae_plain", scaled.collect::<Result<HashMap<_, _>>>()?)
    };
    let z = golden.nhwc("z")?;
    let decoded = huge("decoder")?.decode(&z).err().map(|e| e.to_string());
    let told = decoded.unwrap_or_default();
    assert!(
        told.contains("the VAE's decoder, pixels") && told.contains("model.dtype"),
        "{told}"
    );
    let pixels = huge("encoder")?.decode(&z)?;
    let encoded = huge("encoder")?
        .encode(&pixels)
        .err()
        .map(|e| e.to_string());
    let told = encoded.unwrap_or_default();
    assert!(told.contains("the VAE's encoder, latents"), "{told}");
    Ok(())
}
