//! The metadata of a single-file checkpoint by ModelSpec 1.0.1.

use std::collections::BTreeMap;

use super::Family;
use crate::schedule::PredictionType;

/// `modelspec.*`, which ComfyUI, A1111 and model managers show. `size`: side of the pictures in pixels.
pub fn model_spec(
    family: Family,
    prediction: PredictionType,
    size: usize,
    title: &str,
) -> BTreeMap<String, String> {
    let v = prediction == PredictionType::VPrediction;
    let architecture = match (family, v) {
        (Family::Sd1, _) => "stable-diffusion-v1",
        (Family::Sd2, false) => "stable-diffusion-v2-512",
        (Family::Sd2, true) => "stable-diffusion-v2-768-v",
        (Family::Sdxl, _) => "stable-diffusion-xl-v1-base",
    };
    let size = format!("{size}x{size}");
    [
        ("sai_model_spec", "1.0.1"),
        ("architecture", architecture),
        // The implementation whose tensor names are used.
        (
            "implementation",
            "https://github.com/Stability-AI/generative-models",
        ),
        ("title", title),
        ("resolution", &size),
        ("prediction_type", if v { "v" } else { "epsilon" }),
    ]
    .into_iter()
    .map(|(key, value)| (format!("modelspec.{key}"), value.to_owned()))
    .collect()
}
