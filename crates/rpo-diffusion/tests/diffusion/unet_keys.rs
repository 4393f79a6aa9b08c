//! Which keys of a U-Net's configuration are read, and which are refused.

use crate::support::golden_path;
use candle_core::Result;
use rpo_diffusion::UNetConfig;

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let text = std::fs::read_to_string(golden_path("tiny_conv.json")).unwrap();
    let refusal = |key: &str, value: &str| {
        let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
        config[key] = serde_json::from_str(value).unwrap();
        match UNetConfig::from_json(&config.to_string(), "unet/config.json") {
            Ok(_) => panic!("{key} = {value} was accepted"),
            Err(e) => e.to_string(),
        }
    };
    for (key, value, word) in [
        ("addition_embed_type", "\"image\"", "addition_embed_type"),
        (
            "addition_embed_type",
            "\"text_time\"",
            "addition_time_embed_dim",
        ),
        (
            "_class_name",
            "\"UNet3DConditionModel\"",
            "UNet3DConditionModel",
        ),
        ("act_fn", "\"gelu\"", "act_fn"),
        ("num_attention_heads", "4", "num_attention_heads"),
        ("class_embed_type", "\"timestep\"", "class_embed_type"),
        ("mid_block_scale_factor", "1.4", "mid_block_scale_factor"),
        (
            "resnet_time_scale_shift",
            "\"scale_shift\"",
            "resnet_time_scale_shift",
        ),
        (
            "down_block_types",
            "[\"AttnDownBlock2D\", \"DownBlock2D\"]",
            "AttnDownBlock2D",
        ),
        ("up_block_types", "[\"UpBlock2D\"]", "same length"),
        ("attention_head_dim", "[4]", "one entry for each"),
        ("attention_head_dim", "3", "not a multiple of its 3 heads"),
        ("norm_num_groups", "5", "norm_num_groups"),
        ("norm_num_groups", "0", "norm_num_groups"),
        ("a_new_key", "\"on\"", "a_new_key"),
        ("norm_eps", "0", "norm_eps = 0"),
        ("norm_eps", "-1e-5", "norm_eps"),
        ("norm_eps", "\"NaN\"", "norm_eps"),
        ("norm_eps", "null", "norm_eps"),
        ("norm_eps", "2", "at most 1"),
        ("freq_shift", "4", "freq_shift"),
        ("freq_shift", "\"Infinity\"", "freq_shift"),
        ("norm_num_groups", "null", "norm_num_groups"),
        ("block_out_channels", "[]", "block_out_channels"),
        ("block_out_channels", "[0, 8]", "block_out_channels = 0"),
        (
            "block_out_channels",
            "[8, 1000000000000]",
            "block_out_channels",
        ),
        ("block_out_channels", "[8.5, 12]", "block_out_channels"),
        (
            "block_out_channels",
            "[8, 8, 8, 8, 8, 8, 8, 8, 8]",
            "a list of 9",
        ),
        ("block_out_channels", "8", "block_out_channels"),
        ("layers_per_block", "1000000000000", "layers_per_block"),
        ("layers_per_block", "0", "layers_per_block"),
        (
            "transformer_layers_per_block",
            "18446744073709551615",
            "transformer_layers_per_block",
        ),
        (
            "transformer_layers_per_block",
            "[1, [2, 2]]",
            "transformer_layers_per_block",
        ),
        ("attention_head_dim", "0", "attention_head_dim"),
        ("attention_head_dim", "null", "attention_head_dim"),
        ("cross_attention_dim", "0", "cross_attention_dim"),
        ("cross_attention_dim", "[6, 7]", "cross_attention_dim"),
        ("in_channels", "0", "in_channels"),
        ("out_channels", "4294967296", "out_channels"),
        ("sample_size", "0", "sample_size"),
        ("sample_size", "1000000000000", "sample_size"),
        ("sample_size", "[8, 16]", "sample_size"),
        ("downsample_padding", "1000000000000", "downsample_padding"),
        ("downsample_padding", "0", "downsample_padding"),
        ("flip_sin_to_cos", "\"yes\"", "flip_sin_to_cos"),
        (
            "only_cross_attention",
            "[false, true]",
            "only_cross_attention",
        ),
        ("dropout", "0.1", "dropout"),
        ("encoder_hid_dim", "768", "encoder_hid_dim"),
        ("time_embedding_type", "\"fourier\"", "time_embedding_type"),
        ("conv_in_kernel", "1", "conv_in_kernel"),
        ("mid_block_type", "null", "mid_block_type"),
        (
            "quantization_config",
            "{\"bits\": 8}",
            "quantization_config",
        ),
    ] {
        let message = refusal(key, value);
        assert!(
            message.contains(word) && message.contains("unet/config.json"),
            "{message}"
        );
    }
}

#[test]
fn what_changes_nothing_is_read() -> Result<()> {
    let text = std::fs::read_to_string(golden_path("tiny_conv.json"))?;
    let read = |changes: &[(&str, &str)]| {
        let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
        for (key, value) in changes {
            config[key] = serde_json::from_str(value).unwrap();
        }
        UNetConfig::from_json(&config.to_string(), "unet/config.json")
    };
    let plain = read(&[])?;
    let width = plain.cross_attention_dim;
    let widths = format!("[{width}, {width}]");
    for changes in [
        // What the average of weights of diffusers' training scripts saves.
        &[
            ("decay", "0.9999"),
            ("inv_gamma", "1.0"),
            ("min_decay", "0.0"),
            ("optimization_step", "1000"),
            ("power", "0.6667"),
            ("update_after_step", "0"),
            ("use_ema_warmup", "true"),
        ][..],
        &[("sample_size", "[8, 8]")],
        &[("cross_attention_dim", &widths)],
        &[
            ("only_cross_attention", "[false, false]"),
            ("upcast_attention", "true"),
        ],
        &[("class_embeddings_concat", "true"), ("_anything", "3")],
    ] {
        assert_eq!(read(changes)?, plain, "{changes:?}");
    }
    Ok(())
}
