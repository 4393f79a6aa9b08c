//! Size of a U-Net, from its configuration alone: parameters, and activations in memory.

use candle_core::Result;
use rpo_nn::weights::Params;

use super::config::UNetConfig;
use super::model::UNet2DConditionModel;

/// Sizes of one pass over one picture, in numbers (4 bytes each in f32).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Activations {
    /// Everything that the backward pass of the whole network reads.
    pub whole: usize,
    /// The largest part that is recomputed at a time: a ResNet block with its attention.
    pub largest: usize,
    /// The inputs of these parts, which are kept.
    pub kept: usize,
}

/// A ResNet block, and the number of blocks in the attention after it, which has a norm and projections even without blocks.
struct Layer {
    ci: usize,
    co: usize,
    level: usize,
    depth: Option<usize>,
}

impl UNetConfig {
    /// Every ResNet block in the order of the pass.
    fn sequence(&self) -> Vec<Layer> {
        let (channels, levels) = (&self.block_out_channels, self.blocks());
        let mut all = Vec::new();
        let mut skips = vec![channels[0]];
        for level in 0..levels {
            let co = channels[level];
            let depth = self.depth_of(&self.down_block_types[level], level);
            for j in 0..self.layers(level) {
                let ci = if j == 0 {
                    channels[level.saturating_sub(1)]
                } else {
                    co
                };
                all.push(Layer {
                    ci,
                    co,
                    level,
                    depth,
                });
                skips.push(co);
            }
            if level + 1 < levels {
                skips.push(co);
            }
        }
        let deepest = channels[levels - 1];
        for depth in [Some(self.depth(levels - 1)), None] {
            let level = levels - 1;
            all.push(Layer {
                ci: deepest,
                co: deepest,
                level,
                depth,
            });
        }
        let mut ci = deepest;
        for i in 0..levels {
            let level = levels - 1 - i;
            let co = channels[level];
            let depth = self.depth_of(&self.up_block_types[i], level);
            for _ in 0..=self.layers(level) {
                let with_skip = ci + skips.pop().unwrap_or(0);
                all.push(Layer {
                    ci: with_skip,
                    co,
                    level,
                    depth,
                });
                ci = co;
            }
        }
        all
    }

    fn depth_of(&self, block: &str, level: usize) -> Option<usize> {
        block.starts_with("CrossAttn").then(|| self.depth(level))
    }

    /// The number of parameters.
    pub fn parameters(&self) -> usize {
        let linear = |from: usize, to: usize| from * to + to;
        let conv = |ci: usize, co: usize| 9 * ci * co + co;
        let (channels, levels, time) = (
            &self.block_out_channels,
            self.blocks(),
            self.time_embed_dim(),
        );
        let attention = |c: usize, context: usize| 2 * c * c + 2 * context * c + c;
        let mut total = linear(channels[0], time) + linear(time, time);
        if let Some((_, input)) = self.added {
            total += linear(input, time) + linear(time, time);
        }
        total += conv(self.in_channels, channels[0])
            + 2 * channels[0]
            + conv(channels[0], self.out_channels);
        for Layer { ci, co, depth, .. } in self.sequence() {
            total += 2 * ci + conv(ci, co) + linear(time, co) + 2 * co + conv(co, co);
            if ci != co {
                total += linear(ci, co);
            }
            if let Some(depth) = depth {
                let self_attention = attention(co, co) + attention(co, self.cross_attention_dim);
                let block = 6 * co + self_attention + linear(co, 8 * co) + linear(4 * co, co);
                total += 2 * co + 2 * linear(co, co) + depth * block;
            }
        }
        // A convolution between levels in the down path and the up path.
        let between = |c: &[usize]| c.iter().map(|&c| conv(c, c)).sum::<usize>();
        total + between(&channels[..levels - 1]) + between(&channels[1..])
    }

    /// Names and shapes of all tensors, as a checkpoint has them, sorted by name.
    ///
    /// # Errors
    /// If the layers of the configuration do not fit each other.
    pub fn shapes(&self) -> Result<Vec<(String, Vec<usize>)>> {
        let blank = Params::blank("unet");
        UNet2DConditionModel::new(self, &blank.root())?;
        Ok(blank.shapes())
    }

    /// Multiplications of a pass over one picture of `height` x `width` latents under a text of `tokens` tokens: those of
    /// convolutions, linear layers and attention.
    pub fn multiplications(&self, height: usize, width: usize, tokens: usize) -> u128 {
        let pixels = |level: usize| {
            let side = |n: usize| n.div_ceil(1 << level) as u128;
            side(height) * side(width)
        };
        let width = |c: usize| c as u128;
        let channels: Vec<u128> = self.block_out_channels.iter().copied().map(width).collect();
        let (time, tokens) = (width(self.time_embed_dim()), tokens as u128);
        let mut total = channels[0] * time + time * time;
        if let Some((_, input)) = self.added {
            total += width(input) * time + time * time;
        }
        total += 9 * pixels(0) * channels[0] * width(self.in_channels + self.out_channels);
        for layer in self.sequence() {
            let (ci, co) = (width(layer.ci), width(layer.co));
            let n = pixels(layer.level);
            let shortcut = if ci == co { 0 } else { ci * co };
            total += n * (9 * ci * co + 9 * co * co + shortcut) + time * co;
            if let Some(depth) = layer.depth {
                let within = 4 * n * co * co + 2 * n * n * co;
                let context = 2 * tokens * width(self.cross_attention_dim) * co;
                let across = 2 * n * co * co + context + 2 * n * tokens * co;
                let depth = depth as u128;
                total += depth * (within + across + 12 * n * co * co) + 2 * n * co * co;
            }
        }
        let levels = self.blocks();
        // A convolution between levels in the down path and the up path, at the output's size.
        let down = (0..levels - 1).map(|i| pixels(i + 1) * channels[i] * channels[i]);
        let up = (1..levels).map(|i| pixels(i - 1) * channels[i] * channels[i]);
        total + 9 * down.chain(up).sum::<u128>()
    }

    /// Activations of a pass over one picture of `height` x `width` latents.
    pub fn activations(&self, height: usize, width: usize) -> Activations {
        let mut sizes = Activations::default();
        for Layer {
            ci,
            co,
            level,
            depth,
        } in self.sequence()
        {
            let pixels = height.div_ceil(1 << level) * width.div_ceil(1 << level);
            // Norm, two convolutions with a norm between, time, shortcut and sum; around each attention block norms, q, k, v,
            // results, sums, and the feed-forward part's 8 and 4 widths.
            let resnet = ci + 6 * co;
            let attention = depth.map_or(0, |depth| 4 * co + depth * 28 * co);
            let part = pixels * (resnet + attention);
            sizes.whole += part + pixels * ci;
            sizes.kept += 2 * pixels * ci;
            sizes.largest = sizes.largest.max(part);
        }
        sizes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUR: &str = r#""down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
        "block_out_channels": [320, 640, 1280, 1280]"#;

    fn released() -> Result<[UNetConfig; 3]> {
        let of = |text: &str| UNetConfig::from_json(text, "config.json");
        let one = format!(r#"{{{FOUR}, "attention_head_dim": 8, "cross_attention_dim": 768}}"#);
        let two = format!(
            r#"{{{FOUR}, "attention_head_dim": [5, 10, 20, 20], "cross_attention_dim": 1024, "use_linear_projection": true}}"#
        );
        let xl = r#"{"down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
            "block_out_channels": [320, 640, 1280], "attention_head_dim": [5, 10, 20], "cross_attention_dim": 2048,
            "transformer_layers_per_block": [1, 2, 10], "use_linear_projection": true, "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816}"#;
        Ok([of(&one)?, of(&two)?, of(xl)?])
    }

    fn micro() -> Result<UNetConfig> {
        let text = std::fs::read_to_string(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../assets/micro/unet/config.json"
        ))?;
        UNetConfig::from_json(&text, "config.json")
    }

    /// diffusers' own counts of the released configurations.
    #[test]
    fn parameters_of_the_released_models() -> Result<()> {
        let counts = released()?.map(|config| config.parameters());
        assert_eq!(counts, [859_520_964, 865_910_724, 2_567_463_684]);
        Ok(())
    }

    /// Half the count of `torch.utils.flop_counter` for diffusers 0.42.1's networks with explicit attention.
    #[test]
    fn multiplications_of_the_released_models() -> Result<()> {
        let [one, two, xl] = released()?;
        let counted = [
            (one, 64, 401_636_720_640),
            (two, 96, 1_074_552_872_960),
            (xl, 128, 3_380_618_199_040),
            (micro()?, 16, 372_134_912),
        ];
        for (config, side, counted) in counted {
            assert_eq!(config.multiplications(side, side, 77), counted, "{side}");
        }
        Ok(())
    }

    #[test]
    fn recomputed_passes_keep_less() -> Result<()> {
        let config = micro()?;
        let sizes = config.activations(16, 16);
        assert!(sizes.largest + sizes.kept < sizes.whole, "{sizes:?}");
        let twice = config.activations(32, 16);
        assert_eq!(twice.whole, 2 * sizes.whole);
        Ok(())
    }
}
