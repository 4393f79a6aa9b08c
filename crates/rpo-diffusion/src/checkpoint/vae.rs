//! The VAE's names.

use super::NameMap;
use crate::vae::VaeConfig;

/// Modules of a ResNet block.
const RESNET: [(&str, &str); 5] = [
    ("norm1", "norm1"),
    ("conv1", "conv1"),
    ("norm2", "norm2"),
    ("conv2", "conv2"),
    ("conv_shortcut", "nin_shortcut"),
];

/// Matrices of the middle attention: their names in folders, in folders before diffusers 0.18, and in files, where they are kernels.
const ATTENTION: [(&str, &str, &str); 4] = [
    ("to_q", "query", "q"),
    ("to_k", "key", "k"),
    ("to_v", "value", "v"),
    ("to_out.0", "proj_attn", "proj_out"),
];

fn resnet(map: &mut NameMap, folder: &str, file: &str) {
    for (ours, theirs) in RESNET {
        map.add(format!("{folder}.{ours}"), format!("{file}.{theirs}"));
    }
}

/// The names of a VAE of this configuration. The file numbers the decoder's blocks from the picture side, the folder from the latent side.
pub(super) fn names(config: &VaeConfig) -> NameMap {
    let mut map = NameMap::new("first_stage_model.", "");
    for same in ["quant_conv", "post_quant_conv"] {
        map.add(same, same);
    }
    let blocks = config.block_out_channels.len();
    for coder in ["encoder", "decoder"] {
        for (ours, theirs) in [
            ("conv_in", "conv_in"),
            ("conv_norm_out", "norm_out"),
            ("conv_out", "conv_out"),
        ] {
            map.add(format!("{coder}.{ours}"), format!("{coder}.{theirs}"));
        }
        let (mid, theirs) = (format!("{coder}.mid_block"), format!("{coder}.mid"));
        resnet(
            &mut map,
            &format!("{mid}.resnets.0"),
            &format!("{theirs}.block_1"),
        );
        resnet(
            &mut map,
            &format!("{mid}.resnets.1"),
            &format!("{theirs}.block_2"),
        );
        let attention = format!("{mid}.attentions.0");
        map.add(
            format!("{attention}.group_norm"),
            format!("{theirs}.attn_1.norm"),
        );
        for (now, before, file) in ATTENTION {
            let file = format!("{theirs}.attn_1.{file}");
            map.add_kernel(format!("{attention}.{now}"), file.clone());
            map.also_kernel(format!("{attention}.{before}"), file);
        }
    }
    for i in 0..blocks {
        let (down, file) = (
            format!("encoder.down_blocks.{i}"),
            format!("encoder.down.{i}"),
        );
        for j in 0..config.layers_per_block {
            resnet(
                &mut map,
                &format!("{down}.resnets.{j}"),
                &format!("{file}.block.{j}"),
            );
        }
        map.add(
            format!("{down}.downsamplers.0.conv"),
            format!("{file}.downsample.conv"),
        );
        let (up, file) = (
            format!("decoder.up_blocks.{i}"),
            format!("decoder.up.{}", blocks - 1 - i),
        );
        for j in 0..=config.layers_per_block {
            resnet(
                &mut map,
                &format!("{up}.resnets.{j}"),
                &format!("{file}.block.{j}"),
            );
        }
        map.add(
            format!("{up}.upsamplers.0.conv"),
            format!("{file}.upsample.conv"),
        );
    }
    map
}
