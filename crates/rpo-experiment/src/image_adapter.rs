//! `[image_adapter]`: what a reference's picture adds to its text in training, as DisenBooth has it, and what goes with it.

use crate::layer::Layers;
use anyhow::Result;
use rpo_pref::Recipe;
use rpo_pref::terms::Rows;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[image_adapter]`: the image adapter, where `train.parts` has `image_adapter`. Every arm that trains one reads the same encoder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ImageAdapter {
    /// The encoder of the references: a `CLIPModel` or `CLIPVisionModelWithProjection`, as the encoders of `[encoders]` are named, whose
    /// projection is as wide as the U-Net's texts: 768 of Stable Diffusion 1.5, 1024 of 2.1. Neither the reward's nor a judge. Without
    /// this key: the folder `image_encoder` or `cond_clip` of the model; the embedded model has one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub encoder: String,
}

/// Whether a recipe has losses for the image adapter, or needs one; `table`: where its keys are written.
///
/// # Errors
/// [`rpo_files::failure::BadInput`] at the key that does not go with what is trained.
pub(super) fn check_recipe(
    recipe: &Recipe,
    trained: bool,
    table: &str,
    layers: &Layers,
) -> Result<()> {
    let error = |key: &str, message: &str| Err(layers.error(&format!("{table}.{key}"), message));
    if !trained {
        for (key, weight) in [
            ("weak_denoising_weight", recipe.weak_denoising_weight),
            ("contrastive_weight", recipe.contrastive_weight),
        ] {
            if weight != 0.0 {
                let message = format!(
                    "{weight}: without an image adapter there is nothing to set it apart from\n  hint: train.parts = [\"lora\", \"image_adapter\"], or {key} = 0"
                );
                return error(key, &message);
            }
        }
        return Ok(());
    }
    if recipe.rounds > 0 {
        return error(
            "rounds",
            "pairs of generated pictures have no picture for an image adapter\n  hint: rounds = 0, or train the adapter in another arm",
        );
    }
    let objective = recipe.objective();
    let readers = objective.readers(Rows::Reference);
    if !readers.contains("sim") {
        return error(
            "l_sim_weight",
            "an image adapter learns by L_sim alone\n  hint: l_sim_weight is more than 0",
        );
    }
    if readers.len() > 1 {
        return error(
            "l_pref_weight",
            "L_pref and the consistency loss compare with the base model, which has no image adapter\n  hint: l_pref_weight = 0 or reference_prompt = \"c_mod\", and consistency_weight = 0",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::read;
    use std::path::Path;

    fn told(sets: &[&str]) -> String {
        let sets: Vec<String> = sets.iter().map(|s| (*s).to_owned()).collect();
        let arms = read(Path::new("quickstart"), &[], &sets)
            .and_then(|(experiment, layers)| experiment.training_arms(&layers));
        match arms {
            Ok(arms) => format!("trains {}", arms[0].what()),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn what_does_not_go_with_an_image_adapter_is_refused() {
        let parts = "train.parts=[\"lora\", \"image_adapter\"]";
        for (sets, expected) in [
            (
                &["recipe.preset=disenbooth"][..],
                "trains a LoRA and an image adapter",
            ),
            (
                &["recipe.preset=dreambooth_dpo", parts, "lora.rank=2"],
                "have no picture for an image adapter",
            ),
            (
                &["recipe.preset=disenbooth", "recipe.contrastive_weight=0"],
                "trains a LoRA and an image adapter",
            ),
            (
                &[
                    "recipe.preset=disenbooth",
                    "train.parts=[\"unet\", \"image_adapter\"]",
                ],
                "trains the whole U-Net and an image adapter",
            ),
            (
                &["train.parts=[\"image_adapter\"]", "recipe.l_pref_weight=0"],
                "add \"lora\"",
            ),
            (
                &["train.parts=[\"lora\", \"token\", \"image_adapter\"]"],
                "other arms",
            ),
            (&[parts], "compare with the base model"),
            (&[parts, "recipe.reference_prompt=c_mod"], "trains a LoRA"),
            (
                &[
                    parts,
                    "recipe.l_sim_weight=0",
                    "recipe.consistency_weight=1",
                ],
                "learns by L_sim alone",
            ),
            (
                &["recipe.weak_denoising_weight=0.5"],
                "recipe.weak_denoising_weight",
            ),
            (
                &["recipe.preset=disenbooth", "train.parts=[\"lora\"]"],
                "nothing to set it apart from",
            ),
            (
                &["image_adapter.encoder=micro/cond_clip"],
                "no arm trains an image adapter",
            ),
            (
                &["recipe.preset=disenbooth", "image_adapter.encodr=x"],
                "encodr",
            ),
        ] {
            let told = told(sets);
            assert!(told.contains(expected), "{sets:?}: {told}");
        }
    }
}
