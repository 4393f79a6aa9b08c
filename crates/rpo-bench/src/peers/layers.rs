//! One layer on both sides, with the same weights and the same input, at sizes of the embedded U-Net's outer level in a batch of
//! 8: candle-nn's on its layout, ours on channels-last.

use std::collections::HashMap;

use candle_core::backprop::GradStore;
use candle_core::{D, DType, Device, Result, Tensor, Var};
use candle_nn::{Conv2dConfig, Module, VarBuilder};
use rpo_nn::layers;
use rpo_nn::ops::{ConvSpec, Mask, attention};
use rpo_nn::weights::Params;

use super::folder::{normal, random_weight};
use super::{channels_first, channels_last};

const BATCH: usize = 8;
/// Height and width.
const SIDE: usize = 16;
const CHANNELS: usize = 64;
/// Outputs of the linear layer: the gate and the value of a feed-forward layer.
const WIDE: usize = 8 * CHANNELS;
const GROUPS: usize = 16;
const HEADS: usize = 8;

/// Which layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 64 to 512 channels.
    Linear,
    /// 3x3, padding 1, 64 to 64 channels.
    Conv2d,
    /// 16 groups.
    GroupNorm,
    /// Over 64 channels. Theirs is the fused one, which has no backward pass, or `layer_norm_slow`, which has one, where it is to
    /// be trained.
    LayerNorm,
    /// 256 queries and keys, 8 heads. Theirs is written with candle's operations, and with the softmax that has no backward pass,
    /// or the one that has, where it is to be trained.
    Attention,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Linear,
        Self::Conv2d,
        Self::GroupNorm,
        Self::LayerNorm,
        Self::Attention,
    ];

    /// Whether pictures go in, whose layouts differ.
    fn takes_pictures(self) -> bool {
        matches!(self, Self::Conv2d | Self::GroupNorm)
    }

    /// Names and shapes of the weights.
    fn weights(self) -> Vec<(&'static str, Vec<usize>)> {
        match self {
            Self::Linear => vec![("weight", vec![WIDE, CHANNELS]), ("bias", vec![WIDE])],
            Self::Conv2d => vec![
                ("weight", vec![CHANNELS, CHANNELS, 3, 3]),
                ("bias", vec![CHANNELS]),
            ],
            Self::GroupNorm | Self::LayerNorm => {
                vec![("weight", vec![CHANNELS]), ("bias", vec![CHANNELS])]
            }
            Self::Attention => vec![],
        }
    }
}

type Forward = Box<dyn Fn(&Tensor) -> Result<Tensor> + Send + Sync>;

/// A layer on one side.
pub struct Side {
    /// What goes in; a variable where the layer is trained.
    pub input: Tensor,
    /// The weights by name, as this side keeps them; none where the layer is not trained.
    pub vars: Vec<(String, Var)>,
    /// The gradient at the result, of its shape.
    upstream: Tensor,
    forward: Forward,
    pictures: bool,
    theirs: bool,
}

impl Side {
    /// The layer's result.
    ///
    /// # Errors
    /// Those of the layer.
    pub fn forward(&self) -> Result<Tensor> {
        (self.forward)(&self.input)
    }

    /// Forward and backward from a gradient of random numbers.
    ///
    /// # Errors
    /// Those of the layer.
    pub fn backward(&self) -> Result<GradStore> {
        (self.forward()? * &self.upstream)?.sum_all()?.backward()
    }

    /// An input, a result or a gradient of this side, channels-last where it holds pictures.
    ///
    /// # Errors
    /// Those of tensors.
    pub fn in_our_layout(&self, x: &Tensor) -> Result<Tensor> {
        if self.theirs && self.pictures {
            channels_last(x)
        } else {
            Ok(x.clone())
        }
    }
}

/// A layer, ours and theirs; `train`: with variables, for [`Side::backward`].
///
/// # Errors
/// Those of tensors.
pub fn pair(kind: Kind, train: bool) -> Result<[Side; 2]> {
    let mut tensors = HashMap::new();
    for (name, shape) in kind.weights() {
        tensors.insert(name.to_owned(), random_weight(name, &shape)?);
    }
    let dims: &[usize] = match kind.takes_pictures() {
        true => &[BATCH, SIDE, SIDE, CHANNELS],
        false => &[BATCH, SIDE * SIDE, CHANNELS],
    };
    let input = normal("input", dims)?;

    let params = Params::from_tensors(tensors.clone(), "peers", train)?;
    let forward = ours(kind, &params)?;
    let upstream = normal("upstream", forward(&input)?.dims())?;
    let ours = Side {
        input: variable_if(train, &input)?,
        vars: params.vars(),
        upstream: upstream.clone(),
        forward,
        pictures: kind.takes_pictures(),
        theirs: false,
    };

    let mut vars = Vec::new();
    if train {
        for (name, tensor) in &mut tensors {
            let var = Var::from_tensor(tensor)?;
            *tensor = var.as_tensor().clone();
            vars.push((name.clone(), var));
        }
        vars.sort_by(|(a, _), (b, _)| a.cmp(b));
    }
    let builder = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    let turned = |x: &Tensor| match kind.takes_pictures() {
        true => channels_first(x),
        false => Ok(x.clone()),
    };
    let theirs = Side {
        input: variable_if(train, &turned(&input)?)?,
        vars,
        upstream: turned(&upstream)?,
        forward: theirs(kind, builder, train)?,
        pictures: kind.takes_pictures(),
        theirs: true,
    };
    Ok([ours, theirs])
}

fn variable_if(train: bool, x: &Tensor) -> Result<Tensor> {
    Ok(match train {
        true => Var::from_tensor(x)?.into_inner(),
        false => x.clone(),
    })
}

fn ours(kind: Kind, params: &Params) -> Result<Forward> {
    let scope = params.root();
    Ok(match kind {
        Kind::Linear => {
            let layer = layers::Linear::new(&scope, CHANNELS, WIDE, true)?;
            Box::new(move |x| layer.forward(x))
        }
        Kind::Conv2d => {
            let spec = ConvSpec::same(3);
            let layer = layers::Conv2d::new(&scope, CHANNELS, CHANNELS, 3, spec, true)?;
            Box::new(move |x| layer.forward(x))
        }
        Kind::GroupNorm => {
            let layer = layers::GroupNorm::new(&scope, GROUPS, CHANNELS, 1e-5)?;
            Box::new(move |x| layer.forward(x))
        }
        Kind::LayerNorm => {
            let layer = layers::LayerNorm::new(&scope, CHANNELS, 1e-5)?;
            Box::new(move |x| layer.forward(x))
        }
        Kind::Attention => Box::new(|x| attention(x, x, x, HEADS, &Mask::None)),
    })
}

fn theirs(kind: Kind, weights: VarBuilder<'_>, train: bool) -> Result<Forward> {
    Ok(match kind {
        Kind::Linear => {
            let layer = candle_nn::linear(CHANNELS, WIDE, weights)?;
            Box::new(move |x| layer.forward(x))
        }
        Kind::Conv2d => {
            let config = Conv2dConfig {
                padding: 1,
                ..Default::default()
            };
            let layer = candle_nn::conv2d(CHANNELS, CHANNELS, 3, config, weights)?;
            Box::new(move |x| layer.forward(x))
        }
        Kind::GroupNorm => {
            let layer = candle_nn::group_norm(GROUPS, CHANNELS, 1e-5, weights)?;
            Box::new(move |x| layer.forward(x))
        }
        Kind::LayerNorm if train => {
            let weight = weights.get(CHANNELS, "weight")?;
            let bias = weights.get(CHANNELS, "bias")?;
            Box::new(move |x| candle_nn::ops::layer_norm_slow(x, &weight, &bias, 1e-5))
        }
        Kind::LayerNorm => {
            let layer = candle_nn::layer_norm(CHANNELS, 1e-5, weights)?;
            Box::new(move |x| layer.forward(x))
        }
        Kind::Attention => Box::new(move |x| their_attention(x, train)),
    })
}

fn their_attention(x: &Tensor, train: bool) -> Result<Tensor> {
    let (batch, tokens, channels) = x.dims3()?;
    let split = x.reshape((batch, tokens, HEADS, channels / HEADS))?;
    let heads = split.transpose(1, 2)?.contiguous()?;
    let scale = ((channels / HEADS) as f64).powf(-0.5);
    let scores = (heads.matmul(&heads.t()?)? * scale)?;
    let shares = match train {
        true => candle_nn::ops::softmax(&scores, D::Minus1)?,
        false => candle_nn::ops::softmax_last_dim(&scores)?,
    };
    let mixed = shares.matmul(&heads)?;
    mixed.transpose(1, 2)?.reshape((batch, tokens, channels))
}
