//! Which names the adaptable modules of CLIP's text encoders have, in files and in models.
//!
//! In a [`Lora`](super::Lora) they are those of the released encoders: `text_model.encoder.layers.0.self_attn.q_proj`.

use candle_core::{Result, bail};

use super::base::BaseModel;
use super::keys::WRAPPED;
use super::unet_names::numbered;

/// The text encoders of a pipeline in the order of its prompts' states: their folders, and how keys of diffusers and of peft's
/// configuration begin.
pub(super) const PARTS: [&str; 2] = ["text_encoder", "text_encoder_2"];

/// Before every name of a released encoder. transformers 5 leaves it out.
pub(super) const MODEL: &str = "text_model.";

/// sd-scripts' prefixes and the encoder that each means: that of Stable Diffusion 1.x and 2.x, and SDXL's two.
const KOHYA: [(&str, usize); 3] = [("lora_te_", 0), ("lora_te1_", 0), ("lora_te2_", 1)];

/// What kohya's names have after the prefix, up to the layer's number.
const FLAT_LAYERS: &str = "text_model_encoder_layers_";

/// The linear layers of each of the encoder's layers.
const LINEAR: [&str; 6] = [
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.out_proj",
    "mlp.fc1",
    "mlp.fc2",
];

/// diffusers' first names of the projections of attention, in the order of [`LINEAR`].
const FIRST: [&str; 4] = [
    "self_attn.to_q",
    "self_attn.to_k",
    "self_attn.to_v",
    "self_attn.to_out",
];

/// The encoder, from 0, and the name in it of the module that a file calls `place`; `None` if it is no linear layer of a text encoder,
/// or its name does not say of which one.
pub(super) fn module(place: &str) -> Option<(usize, String)> {
    let flat = KOHYA
        .iter()
        .find_map(|(start, encoder)| Some((place.strip_prefix(start)?, *encoder)));
    let (encoder, name) = match flat {
        Some((flat, encoder)) => {
            let (number, layer) = flat.strip_prefix(FLAT_LAYERS)?.split_once('_')?;
            let layer = LINEAR.iter().find(|name| name.replace('.', "_") == layer)?;
            (encoder, format!("encoder.layers.{number}.{layer}"))
        }
        None => {
            let (part, inner) = place.split_once('.')?;
            let encoder = PARTS.iter().position(|name| *name == part)?;
            let inner = inner.rsplit_once(WRAPPED).map_or(inner, |(_, name)| name);
            (encoder, inner.strip_prefix(MODEL).unwrap_or(inner).into())
        }
    };
    let (number, layer) = numbered(&name, "encoder.layers")?;
    let first = FIRST.iter().position(|name| *name == layer);
    let layer = match first {
        Some(n) => LINEAR[n],
        None => LINEAR.iter().find(|name| **name == layer)?,
    };
    Some((encoder, format!("{MODEL}encoder.layers.{number}.{layer}")))
}

/// The module that a key of another kind of adapter belongs to, as the key spells it: all up to some dot.
pub(super) fn place_in(key: &str) -> Option<&str> {
    let mut places = key.rmatch_indices('.').map(|(dot, _)| &key[..dot]);
    places.find(|place| module(place).is_some())
}

/// The key in a kohya file of the module `name` of an encoder, without `.lora_down.weight` and the like.
///
/// # Errors
/// If models of this family have no such encoder.
pub(super) fn to_kohya(name: &str, encoder: usize, base: BaseModel) -> Result<String> {
    let start = match (base, encoder) {
        (BaseModel::Sdxl, 0) => "lora_te1_",
        (BaseModel::Sdxl, 1) => "lora_te2_",
        (_, 0) => "lora_te_",
        _ => bail!(
            "{name} is of text encoder {}, and {} has no such one\n  hint: a LoRA of two text encoders is of SDXL (--base sdxl)",
            encoder + 1,
            base.architecture()
        ),
    };
    Ok(format!("{start}{}", name.replace('.', "_")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const Q: &str = "text_model.encoder.layers.11.self_attn.q_proj";

    #[test]
    fn every_spelling_names_the_encoder_and_the_module() {
        let flat = "text_model_encoder_layers_11_self_attn_q_proj";
        for (start, encoder) in [("lora_te_", 0), ("lora_te1_", 0), ("lora_te2_", 1)] {
            let place = format!("{start}{flat}");
            assert_eq!(module(&place), Some((encoder, Q.to_owned())), "{place}");
        }
        for (place, encoder) in [
            (
                "text_encoder.text_model.encoder.layers.11.self_attn.q_proj",
                0,
            ),
            ("text_encoder.encoder.layers.11.self_attn.q_proj", 0),
            ("text_encoder_2.encoder.layers.11.self_attn.q_proj", 1),
            ("text_encoder_2.encoder.layers.11.self_attn.to_q", 1),
            (
                "text_encoder.base_model.model.text_model.encoder.layers.11.self_attn.q_proj",
                0,
            ),
        ] {
            assert_eq!(module(place), Some((encoder, Q.to_owned())), "{place}");
        }
        for (end, layer) in [
            ("mlp_fc1", "mlp.fc1"),
            ("self_attn_out_proj", "self_attn.out_proj"),
        ] {
            let (_, name) = module(&format!("lora_te_text_model_encoder_layers_0_{end}")).unwrap();
            assert_eq!(name, format!("text_model.encoder.layers.0.{layer}"));
        }
    }

    #[test]
    fn other_names_are_no_modules() {
        for place in [
            "lora_te3_encoder_block_0_layer_0_SelfAttention_q",
            "lora_te_text_model_encoder_layers_0_self_attn",
            "lora_te_text_model_encoder_layers_0_self_attn_to_q",
            "lora_te_text_model_encoder_layers_x_mlp_fc1",
            "lora_te_text_model_encoder_layers_007_mlp_fc1",
            "lora_te2_text_projection",
            "text_encoder_3.encoder.layers.0.mlp.fc1",
            "text_encoder.text_model.embeddings.token_embedding",
            "text_encoder.text_model.encoder.layers.0.mlp.fc3",
            "text_encoder.q_proj",
            "clip_l.text_model.encoder.layers.0.mlp.fc1",
            "text_model.encoder.layers.0.mlp.fc1",
            "text_encoder",
            "",
        ] {
            assert_eq!(module(place), None, "{place}");
        }
    }

    #[test]
    fn the_module_of_another_adapter_s_key_is_found() {
        let place = "lora_te1_text_model_encoder_layers_0_mlp_fc1";
        assert_eq!(place_in(&format!("{place}.dora_scale")), Some(place));
        let place = "text_encoder.encoder.layers.0.mlp.fc1";
        let key = format!("{place}.lora_magnitude_vector.default.weight");
        assert_eq!(place_in(&key), Some(place));
        assert_eq!(place_in("text_encoder.embeddings.weight"), None);
    }

    #[test]
    fn keys_of_kohya_are_those_of_the_family() {
        let flat = "text_model_encoder_layers_11_self_attn_q_proj";
        for (base, encoder, start) in [
            (BaseModel::Sd1, 0, "lora_te_"),
            (BaseModel::Sd2V, 0, "lora_te_"),
            (BaseModel::Sdxl, 0, "lora_te1_"),
            (BaseModel::Sdxl, 1, "lora_te2_"),
        ] {
            let key = to_kohya(Q, encoder, base).unwrap();
            assert_eq!(key, format!("{start}{flat}"));
            assert_eq!(module(&key), Some((encoder, Q.to_owned())));
        }
        let told = to_kohya(Q, 1, BaseModel::Sd1).unwrap_err().to_string();
        assert!(
            told.contains("text encoder 2") && told.contains("SDXL"),
            "{told}"
        );
    }
}
