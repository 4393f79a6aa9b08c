//! The text encoders' names: CLIP's own, which are those of the folder, and OpenCLIP's.

use super::NameMap;

/// The part of a folder's names that transformers before version 5 writes and later versions may omit.
const WRAPPER: &str = "text_model.";

/// Modules of an OpenCLIP layer.
const LAYER: [(&str, &str); 5] = [
    ("layer_norm1", "ln_1"),
    ("layer_norm2", "ln_2"),
    ("mlp.fc1", "mlp.c_fc"),
    ("mlp.fc2", "mlp.c_proj"),
    ("self_attn.out_proj", "attn.out_proj"),
];

/// The names of a text encoder with the same names in the file, below `prefix`.
pub(super) fn clip_names(prefix: &str) -> NameMap {
    let mut map = NameMap::new(prefix, WRAPPER);
    for module in ["embeddings", "encoder", "final_layer_norm"] {
        map.add(module, format!("{WRAPPER}{module}"));
        // Some old files lack the wrapper.
        map.also_in_file(module, module);
    }
    map
}

/// The names of a text encoder of `layers` layers that is in OpenCLIP's format in the file, below `prefix`; `projected` if
/// the folder's encoder has a text projection.
pub(super) fn open_clip_names(prefix: &str, layers: usize, projected: bool) -> NameMap {
    let mut map = NameMap::new(prefix, WRAPPER);
    map.add("embeddings.token_embedding", "token_embedding");
    map.add(
        "embeddings.position_embedding.weight",
        "positional_embedding",
    );
    map.add("final_layer_norm", "ln_final");
    // Some files have it in the folder's names.
    for module in ["embeddings", "encoder", "final_layer_norm"] {
        map.also_in_file(module, format!("{WRAPPER}{module}"));
    }
    if projected {
        map.add_transposed("text_projection.weight", "text_projection");
        map.also_unwrapped("text_projection.weight");
    }
    for i in 0..layers {
        let (ours, theirs) = (
            format!("encoder.layers.{i}"),
            format!("transformer.resblocks.{i}"),
        );
        for (a, b) in LAYER {
            map.add(format!("{ours}.{a}"), format!("{theirs}.{b}"));
        }
        map.add_fused(format!("{ours}.self_attn"), format!("{theirs}.attn"));
    }
    map
}
