//! The activations that configs name.

use candle_core::{Result, bail};
use rpo_nn::ops::Activation;

/// The activation that transformers calls `name`, the value of `key` of a config (`hidden_act`).
///
/// # Errors
/// If the name is unknown; the message lists the known ones.
pub fn by_name(key: &str, name: &str) -> Result<Activation> {
    Ok(match name {
        "gelu" => Activation::Gelu,
        "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Activation::GeluTanh,
        "quick_gelu" => Activation::QuickGelu,
        "relu" => Activation::Relu,
        "silu" | "swish" => Activation::Silu,
        "sigmoid" => Activation::Sigmoid,
        "tanh" => Activation::Tanh,
        _ => bail!(
            "key `{key}`: {name} is not known here; it must be gelu, gelu_new, gelu_fast, gelu_pytorch_tanh, \
             quick_gelu, relu, silu, swish, sigmoid or tanh"
        ),
    })
}
