//! Keys of tensors in LoRA files: which module they belong to, and which part of it they are.

use super::file::Format;

/// What a tensor is of a module's adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The matrix on the input: A, "down".
    A,
    /// The matrix on the output: B, "up".
    B,
    /// The kernel between them in LyCORIS' Tucker form, where A is 1x1.
    Mid,
    /// α.
    Alpha,
}

/// A key taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Key<'a> {
    /// The module, in the words of the file.
    pub(super) place: &'a str,
    pub(super) part: Part,
    /// `None` for α, which has the same key in every format.
    pub(super) format: Option<Format>,
    /// peft's name of the adapter, where the file has it: `default`.
    pub(super) adapter: Option<&'a str>,
}

/// Suffixes of keys, after the module's name.
const ENDS: [(&str, Part, Format); 13] = [
    (".lora_down.weight", Part::A, Format::Kohya),
    (".lora_up.weight", Part::B, Format::Kohya),
    (".lora_mid.weight", Part::Mid, Format::Kohya),
    (".lora_A.weight", Part::A, Format::Peft),
    (".lora_B.weight", Part::B, Format::Peft),
    (".lora_A", Part::A, Format::Peft),
    (".lora_B", Part::B, Format::Peft),
    (".lora.down.weight", Part::A, Format::DiffusersScript),
    (".lora.up.weight", Part::B, Format::DiffusersScript),
    (
        ".lora_linear_layer.down.weight",
        Part::A,
        Format::DiffusersScript,
    ),
    (
        ".lora_linear_layer.up.weight",
        Part::B,
        Format::DiffusersScript,
    ),
    ("_lora.down.weight", Part::A, Format::DiffusersProcessor),
    ("_lora.up.weight", Part::B, Format::DiffusersProcessor),
];

/// Prefixes of the keys of text encoders: kohya's, diffusers', OneTrainer's (OMI), ComfyUI's, and those of an encoder that peft
/// wrapped by itself.
const TEXT: [&str; 11] = [
    "lora_te_",
    "lora_te1_",
    "lora_te2_",
    "lora_te3_",
    "lora_prior_te_",
    "text_encoder",
    "text_model.",
    "clip_l.",
    "clip_g.",
    "t5.",
    "t5xxl.",
];

/// What peft puts before the names of a model that it wraps.
pub(super) const WRAPPED: &str = "base_model.model.";

impl<'a> Key<'a> {
    /// `None` if it is no key of a plain LoRA.
    pub(super) fn parse(key: &'a str) -> Option<Self> {
        if let Some(place) = key.strip_suffix(".alpha") {
            return Some(Self {
                place,
                part: Part::Alpha,
                format: None,
                adapter: None,
            });
        }
        for (end, part, format) in ENDS {
            if let Some(place) = key.strip_suffix(end) {
                return Some(Self {
                    place,
                    part,
                    format: Some(format),
                    adapter: None,
                });
            }
        }
        [(".lora_A.", Part::A), (".lora_B.", Part::B)]
            .into_iter()
            .find_map(|(mark, part)| {
                let (place, rest) = key.rsplit_once(mark)?;
                let adapter = rest.strip_suffix(".weight")?;
                (!adapter.is_empty() && !adapter.contains('.')).then_some(Self {
                    place,
                    part,
                    format: Some(Format::Peft),
                    adapter: Some(adapter),
                })
            })
    }
}

/// Whether a key is of a text encoder.
pub(super) fn is_text_encoder(key: &str) -> bool {
    let inner = key.strip_prefix(WRAPPED).unwrap_or(key);
    TEXT.iter().any(|start| inner.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_taken_apart() {
        let parts = |key| Key::parse(key).map(|k| (k.place, k.part, k.adapter));
        assert_eq!(parts("a.b.lora_A.weight"), Some(("a.b", Part::A, None)));
        assert_eq!(
            parts("a.b.lora_B.my_dog.weight"),
            Some(("a.b", Part::B, Some("my_dog")))
        );
        assert_eq!(parts("a.b.lora_B"), Some(("a.b", Part::B, None)));
        assert_eq!(parts("a.alpha"), Some(("a", Part::Alpha, None)));
        assert_eq!(parts("a.lora_mid.weight"), Some(("a", Part::Mid, None)));
        // A module may have a name that looks like a part.
        assert_eq!(
            parts("a.lora_A.b.lora_A.x.weight"),
            Some(("a.lora_A.b", Part::A, Some("x")))
        );
        for key in [
            "a.weight",
            "a.lora_B.bias",
            "a.lora_A.x.y.weight",
            "a.lora_A..weight",
        ] {
            assert_eq!(parts(key), None, "{key}");
        }
    }

    #[test]
    fn text_encoders_are_recognised() {
        for key in [
            "lora_te_text_model_x.alpha",
            "text_encoder_2.text_model.x.lora_A.weight",
            "clip_g.text_model.x.lora_up.weight",
            "base_model.model.text_model.x.lora_A.weight",
        ] {
            assert!(is_text_encoder(key), "{key}");
        }
        assert!(!is_text_encoder("unet.mid_block.x.lora_A.weight"));
    }
}
