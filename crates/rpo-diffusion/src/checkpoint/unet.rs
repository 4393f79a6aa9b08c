//! The U-Net's names.

use super::NameMap;
use super::spelling::UNET;
use crate::unet::UNetConfig;

/// Modules of a ResNet block.
const RESNET: [(&str, &str); 6] = [
    ("norm1", "in_layers.0"),
    ("conv1", "in_layers.2"),
    ("time_emb_proj", "emb_layers.1"),
    ("norm2", "out_layers.0"),
    ("conv2", "out_layers.3"),
    ("conv_shortcut", "skip_connection"),
];

/// Modules outside the blocks.
const OUTER: [(&str, &str); 8] = [
    ("time_embedding.linear_1", "time_embed.0"),
    ("time_embedding.linear_2", "time_embed.2"),
    ("add_embedding.linear_1", "label_emb.0.0"),
    ("add_embedding.linear_2", "label_emb.0.2"),
    ("conv_in", "input_blocks.0.0"),
    ("conv_norm_out", "out.0"),
    ("conv_out", "out.2"),
    ("mid_block.attentions.0", "middle_block.1"),
];

fn resnet(map: &mut NameMap, folder: &str, file: &str) {
    for (ours, theirs) in RESNET {
        map.add(format!("{folder}.{ours}"), format!("{file}.{theirs}"));
    }
}

/// The names of a U-Net of this configuration. The file counts `input_blocks` and `output_blocks` through all resolutions: a ResNet
/// (`.0`) with its transformer (`.1`) is one block, a downsampling is a separate block, an upsampling is the last module of its block.
pub(super) fn names(config: &UNetConfig) -> NameMap {
    let mut map = NameMap::new(UNET, "");
    for (ours, theirs) in OUTER {
        map.add(ours, theirs);
    }
    let last = config.blocks() - 1;
    let mut n = 1;
    for i in 0..=last {
        let block = format!("down_blocks.{i}");
        for j in 0..config.layers(i) {
            let input = format!("input_blocks.{n}");
            resnet(
                &mut map,
                &format!("{block}.resnets.{j}"),
                &format!("{input}.0"),
            );
            if config.down_block_types[i].starts_with("CrossAttn") {
                map.add(format!("{block}.attentions.{j}"), format!("{input}.1"));
            }
            n += 1;
        }
        if i < last {
            map.add(
                format!("{block}.downsamplers.0.conv"),
                format!("input_blocks.{n}.0.op"),
            );
            n += 1;
        }
    }
    resnet(&mut map, "mid_block.resnets.0", "middle_block.0");
    resnet(&mut map, "mid_block.resnets.1", "middle_block.2");
    let mut n = 0;
    for i in 0..=last {
        let block = format!("up_blocks.{i}");
        let attention = config.up_block_types[i].starts_with("CrossAttn");
        let layers = config.layers(last - i);
        for j in 0..=layers {
            let output = format!("output_blocks.{n}");
            resnet(
                &mut map,
                &format!("{block}.resnets.{j}"),
                &format!("{output}.0"),
            );
            if attention {
                map.add(format!("{block}.attentions.{j}"), format!("{output}.1"));
            }
            if i < last && j == layers {
                let place = if attention { 2 } else { 1 };
                map.add(
                    format!("{block}.upsamplers.0.conv"),
                    format!("{output}.{place}.conv"),
                );
            }
            n += 1;
        }
    }
    map
}
