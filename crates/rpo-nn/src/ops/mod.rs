//! Differentiable operations on contiguous f32 tensors, channels last.
//!
//! Every function checks shapes and dtypes and names the operation in its errors. Arguments that are not contiguous are
//! copied. The backward pass computes the gradients of tracked arguments only.

pub(crate) mod activation;
pub(crate) mod attention;
pub(crate) mod conv;
pub(crate) mod depthwise;
pub(crate) mod detach;
pub(crate) mod dropout;
pub(crate) mod elementwise;
pub(crate) mod embedding;
pub(crate) mod geglu;
pub(crate) mod group_norm;
pub(crate) mod layer_norm;
pub(crate) mod linear;
pub(crate) mod loss;
#[cfg(feature = "cuda")]
mod on_gpu;
pub(crate) mod resize;

pub use crate::geometry::ConvSpec;
pub use activation::{Activation, activation};
pub use attention::{Mask, attention};
pub use conv::conv2d;
pub(crate) use conv::{KeptKernels, conv2d_keeping};
pub use depthwise::depthwise_conv2d;
pub use detach::detach_first;
pub use dropout::dropout;
pub use elementwise::{add, add_channels, concat_channels, mul_channels, scale};
pub use embedding::{embedding, embedding_with};
pub use geglu::geglu;
pub(crate) use geglu::linear_geglu;
pub use group_norm::group_norm;
pub use layer_norm::layer_norm;
pub use linear::linear;
pub(crate) use linear::{KeptWeights, linear_keeping};
pub use loss::mean_squared_per_sample;
pub use resize::upsample_nearest;
