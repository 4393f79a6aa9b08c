//! Tensors of a weights file that no layer has read.

use std::path::Path;

use candle_core::{Result, bail};
use rpo_nn::weights::Params;

/// Checks that every tensor of an encoder's file was read, except those that `passed_over` names as of no use here.
///
/// # Errors
/// With the folder `dir` and the first such tensor: the file holds another network than its `config.json` says.
pub fn all_read(dir: &Path, params: &Params, passed_over: impl Fn(&str) -> bool) -> Result<()> {
    let mut unused = params.unused();
    unused.retain(|name| !passed_over(name));
    let Some(name) = unused.first() else {
        return Ok(());
    };
    bail!(
        "{}: {} tensors of the weights have no place in the network of its config.json, {name} among them\n  hint: config.json and weights must come from one model; a config with fewer layers (`num_hidden_layers`) gives other numbers",
        dir.display(),
        unused.len()
    )
}
