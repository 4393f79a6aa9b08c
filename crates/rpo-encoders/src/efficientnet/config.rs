//! `vision_config` of an `AlignModel`, and the blocks that follow from it.

use candle_core::{Result, bail};
use serde::Deserialize;

use crate::activation;
use crate::limits::within;

/// The last pooling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// Mean over all positions.
    Mean,
    /// Maximum over all positions.
    Max,
}

/// The tower's shape; missing keys have transformers' defaults (EfficientNet-B7).
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct EfficientNetConfig {
    /// Channels of the image.
    pub num_channels: usize,
    /// Factor on all widths.
    pub width_coefficient: f64,
    /// Factor on all numbers of blocks.
    pub depth_coefficient: f64,
    /// All widths are multiples of this.
    pub depth_divisor: usize,
    /// Kernel size of each stage.
    pub kernel_sizes: Vec<usize>,
    /// Width into each stage, before the factor.
    pub in_channels: Vec<usize>,
    /// Width out of each stage, before the factor.
    pub out_channels: Vec<usize>,
    /// Indices of the blocks with symmetric padding even at stride 2.
    pub depthwise_padding: Vec<usize>,
    /// Stride of the first block of each stage.
    pub strides: Vec<usize>,
    /// Blocks of each stage, before the factor.
    pub num_block_repeats: Vec<usize>,
    /// Expansion inside the blocks of each stage.
    pub expand_ratios: Vec<usize>,
    /// Width of the squeeze, as a fraction of a block's input width.
    pub squeeze_expansion_ratio: f64,
    /// Activation, by transformers' name.
    pub hidden_act: String,
    /// Side of the pooling window, despite its name.
    pub hidden_dim: usize,
    /// The last pooling.
    pub pooling_type: Pooling,
    /// Epsilon of the batch norms.
    pub batch_norm_eps: f64,
}

impl Default for EfficientNetConfig {
    fn default() -> Self {
        Self {
            num_channels: 3,
            width_coefficient: 2.0,
            depth_coefficient: 3.1,
            depth_divisor: 8,
            kernel_sizes: vec![3, 3, 5, 3, 5, 5, 3],
            in_channels: vec![32, 16, 24, 40, 80, 112, 192],
            out_channels: vec![16, 24, 40, 80, 112, 192, 320],
            depthwise_padding: Vec::new(),
            strides: vec![1, 2, 2, 2, 1, 2, 1],
            num_block_repeats: vec![1, 2, 2, 3, 3, 4, 1],
            expand_ratios: vec![1, 6, 6, 6, 6, 6, 6],
            squeeze_expansion_ratio: 0.25,
            hidden_act: "swish".to_string(),
            hidden_dim: 2560,
            pooling_type: Pooling::Mean,
            batch_norm_eps: 0.001,
        }
    }
}

/// One inverted bottleneck, factors applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockConfig {
    /// Channels in.
    pub input: usize,
    /// Channels between the pointwise convolutions.
    pub expanded: usize,
    /// Channels of the squeeze.
    pub squeezed: usize,
    /// Channels out.
    pub output: usize,
    /// Side of the depthwise kernel.
    pub kernel: usize,
    /// Stride of the depthwise convolution.
    pub stride: usize,
    /// Zeros at the top, bottom, left, right of the depthwise convolution's input.
    pub padding: [usize; 4],
    /// Whether the input is added to the output.
    pub residual: bool,
}

impl EfficientNetConfig {
    /// # Errors
    /// With the key and the value that is out of bounds.
    pub(crate) fn check(&self, prefix: &str) -> Result<()> {
        let key = |name: &str| format!("{prefix}{name}");
        within(key("num_channels"), self.num_channels, 1, 64)?;
        within(
            key("width_coefficient"),
            self.width_coefficient,
            1e-3,
            100.0,
        )?;
        within(
            key("depth_coefficient"),
            self.depth_coefficient,
            1e-3,
            100.0,
        )?;
        within(key("depth_divisor"), self.depth_divisor, 1, 1024)?;
        within(
            key("squeeze_expansion_ratio"),
            self.squeeze_expansion_ratio,
            0.0,
            64.0,
        )?;
        within(key("hidden_dim"), self.hidden_dim, 1, 1 << 16)?;
        within(key("batch_norm_eps"), self.batch_norm_eps, 0.0, 1.0)?;
        within(key("in_channels (stages)"), self.in_channels.len(), 1, 64)?;
        for (name, values, most) in [
            ("in_channels", &self.in_channels, 1 << 16),
            ("out_channels", &self.out_channels, 1 << 16),
            ("kernel_sizes", &self.kernel_sizes, 31),
            ("strides", &self.strides, 2),
            ("num_block_repeats", &self.num_block_repeats, 64),
            ("expand_ratios", &self.expand_ratios, 64),
        ] {
            for value in values {
                within(key(name), *value, 1, most)?;
            }
        }
        activation::by_name(&key("hidden_act"), &self.hidden_act)?;
        self.blocks().map(|_| ())
    }

    /// `channels` times the width coefficient, to the next multiple of the divisor, never more than 10 % below.
    pub fn round_filters(&self, channels: usize) -> usize {
        let divisor = self.depth_divisor.max(1);
        let exact = channels as f64 * self.width_coefficient;
        let rounded = (exact + divisor as f64 / 2.0) as usize / divisor * divisor;
        let rounded = rounded.max(divisor);
        if (rounded as f64) < 0.9 * exact {
            rounded + divisor
        } else {
            rounded
        }
    }

    /// The blocks, first to last.
    ///
    /// # Errors
    /// If lists have different lengths, there is no stage, a stride is not 1 or 2, a kernel is even, or a block does not take
    /// what the one before it gives.
    pub fn blocks(&self) -> Result<Vec<BlockConfig>> {
        let stages = self.in_channels.len();
        for (key, length) in [
            ("out_channels", self.out_channels.len()),
            ("kernel_sizes", self.kernel_sizes.len()),
            ("strides", self.strides.len()),
            ("num_block_repeats", self.num_block_repeats.len()),
            ("expand_ratios", self.expand_ratios.len()),
        ] {
            if length != stages || stages == 0 {
                bail!(
                    "key `{key}`: {length} stages, but `in_channels` has {stages}; both need the same, at least one"
                );
            }
        }
        let mut blocks = Vec::new();
        for stage in 0..stages {
            let (kernel, stride) = (self.kernel_sizes[stage], self.strides[stage]);
            if !(1..=2).contains(&stride) {
                bail!("key `strides`: {stride} in stage {stage}; it must be 1 or 2");
            }
            if kernel < 3 || kernel.is_multiple_of(2) {
                bail!("key `kernel_sizes`: {kernel} in stage {stage}; it must be odd, 3 or more");
            }
            let (first, output) = (
                self.round_filters(self.in_channels[stage]),
                self.round_filters(self.out_channels[stage]),
            );
            let repeats =
                (self.depth_coefficient * self.num_block_repeats[stage] as f64).ceil() as usize;
            for repeat in 0..repeats {
                let input = if repeat == 0 { first } else { output };
                let stride = if repeat == 0 { stride } else { 1 };
                let half = kernel / 2;
                let even = stride == 1 || self.depthwise_padding.contains(&blocks.len());
                let before = if even { half } else { half - 1 };
                blocks.push(BlockConfig {
                    input,
                    expanded: input * self.expand_ratios[stage],
                    squeezed: ((input as f64 * self.squeeze_expansion_ratio) as usize).max(1),
                    output,
                    kernel,
                    stride,
                    padding: [before, half, before, half],
                    residual: stride == 1 && repeat > 0,
                });
            }
        }
        let mut channels = self.round_filters(32);
        for (index, block) in blocks.iter().enumerate() {
            if block.input != channels {
                bail!(
                    "keys `in_channels` and `out_channels`: block {index} takes {} channels, but {channels} come in",
                    block.input
                );
            }
            channels = block.output;
        }
        Ok(blocks)
    }
}
