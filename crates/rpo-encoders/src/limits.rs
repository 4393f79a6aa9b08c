//! Bounds on the numbers of a config, checked before anything is built on them: products of numbers within them fit into 64 bits,
//! and no claim of a file takes memory out of proportion.

use std::fmt::{Debug, Display};
use std::path::Path;

use candle_core::{Error, Result, bail};

use crate::activation;
use crate::patches::{Extent, PatchEmbedding};

/// The longest side of a picture that an encoder takes, in pixels.
pub(crate) const LONGEST_SIDE: usize = 4096;

/// Checks that a number lies in `least..=most`, which NaN does not.
///
/// # Errors
/// With key, value and bounds.
pub(crate) fn within<T: PartialOrd + Debug>(
    key: impl Display,
    value: T,
    least: T,
    most: T,
) -> Result<()> {
    if !(least <= value && value <= most) {
        bail!("key `{key}`: {value:?} must be from {least:?} to {most:?}");
    }
    Ok(())
}

/// Adds the file `name` of `dir` to an error about one of its keys.
pub(crate) fn in_file<T>(dir: &Path, name: &str, checked: Result<T>) -> Result<T> {
    checked.map_err(|error| Error::msg(format!("{}, {error}", dir.join(name).display())))
}

/// The numbers of a transformer's layers.
pub(crate) struct Layers<'a> {
    /// Before its keys: `text_config.`, or nothing.
    pub(crate) prefix: &'a str,
    pub(crate) hidden: usize,
    pub(crate) intermediate: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) eps: f64,
    pub(crate) activation: &'a str,
}

impl Layers<'_> {
    /// # Errors
    /// With the key and the value that is out of bounds.
    pub(crate) fn check(&self) -> Result<()> {
        let prefix = self.prefix;
        let key = |name: &str| format!("{prefix}{name}");
        within(key("hidden_size"), self.hidden, 1, 1 << 16)?;
        within(key("intermediate_size"), self.intermediate, 1, 1 << 18)?;
        within(key("num_hidden_layers"), self.layers, 0, 1024)?;
        within(key("num_attention_heads"), self.heads, 1, 1 << 16)?;
        if !self.hidden.is_multiple_of(self.heads) {
            bail!(
                "key `{prefix}num_attention_heads`: {} heads do not divide `hidden_size` {}",
                self.heads,
                self.hidden
            );
        }
        within(key("layer_norm_eps"), self.eps, 0.0, 1.0)?;
        activation::by_name(&key("hidden_act"), self.activation)?;
        Ok(())
    }
}

/// Checks the numbers of a table of tokens and one of positions.
///
/// # Errors
/// With the key and the value that is out of bounds.
pub(crate) fn tables(prefix: &str, tokens: usize, positions: usize) -> Result<()> {
    within(format!("{prefix}vocab_size"), tokens, 1, 1 << 24)?;
    within(
        format!("{prefix}max_position_embeddings"),
        positions,
        1,
        1 << 20,
    )
}

/// Checks the numbers of an image and its patches.
///
/// # Errors
/// With the key and the value that is out of bounds.
pub(crate) fn image(prefix: &str, image: Extent, patch: Extent, channels: usize) -> Result<()> {
    for (name, extent) in [("image_size", image), ("patch_size", patch)] {
        let (height, width) = extent.sides();
        for side in [height, width] {
            within(format!("{prefix}{name}"), side, 1, LONGEST_SIDE)?;
        }
    }
    within(format!("{prefix}num_channels"), channels, 1, 64)?;
    PatchEmbedding::patches(image, patch).map(drop)
}

#[cfg(test)]
mod tests {
    use super::within;

    #[test]
    fn a_number_out_of_bounds_is_named() {
        assert!(within("eps", 0.5, 0.0, 1.0).is_ok());
        for value in [f64::NAN, f64::INFINITY, -1e-9, 1.1] {
            let message = within("eps", value, 0.0, 1.0).unwrap_err().to_string();
            assert!(
                message.contains("`eps`") && message.contains(&format!("{value:?}")),
                "{message}"
            );
        }
    }
}
