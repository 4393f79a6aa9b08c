//! The names of the parts of a pipeline's folder.

/// Parts of a pipeline with weights, and the names of their files.
pub(super) const NETWORKS: [(&str, &str); 4] = [
    ("unet", "diffusion_pytorch_model"),
    ("vae", "diffusion_pytorch_model"),
    ("text_encoder", "model"),
    ("text_encoder_2", "model"),
];

/// Parts of a pipeline without weights, and those whose weights only other programs read.
const OTHERS: [&str; 6] = [
    "tokenizer",
    "tokenizer_2",
    "scheduler",
    "safety_checker",
    "feature_extractor",
    "image_encoder",
];

/// The names that may become paths.
pub(super) fn known() -> impl Iterator<Item = &'static str> {
    NETWORKS.iter().map(|(name, _)| *name).chain(OTHERS)
}
