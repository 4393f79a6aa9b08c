//! Checks of single values.

use crate::layer::Layers;
use anyhow::Result;

/// No published adapter has a rank near it, and no layer of a U-Net is wider.
pub(super) const MOST_RANK: usize = 8192;

/// Checks one count.
///
/// # Errors
/// [`rpo_files::failure::BadInput`] at the key.
pub(super) fn at_most(key: &str, value: usize, most: usize, layers: &Layers) -> Result<()> {
    if value <= most {
        return Ok(());
    }
    Err(layers.error(
        key,
        &format!("{value} is more than {most}, the most there may be"),
    ))
}

/// Checks that a number lies between two others.
///
/// # Errors
/// [`rpo_files::failure::BadInput`] at the key.
pub(super) fn in_range(key: &str, value: f64, low: f64, high: f64, layers: &Layers) -> Result<()> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(layers.error(key, &format!("{value} is not in {low}..={high}")))
}
