//! peft's configuration of a LoRA: `adapter_config.json` beside a file of peft, or `lora_adapter_metadata` in the header of one of
//! diffusers. It holds the strength, which peft's keys do not.

use std::io::ErrorKind;
use std::path::Path;

use candle_core::{Error, Result, bail};
use rpo_files::printable::printable_name;
use serde_json::{Map, Value};

use super::keys::WRAPPED;
use super::patterns::{InOrder, Patterns};
use super::peft_keys::refused;

/// The file that peft writes beside the weights.
pub(super) const FILE: &str = "adapter_config.json";

/// peft's strength where the configuration does not hold one.
const ALPHA: f64 = 8.0;

/// The parts of a pipeline whose names precede those of modules.
const PARTS: [&str; 3] = ["unet.", "text_encoder.", "text_encoder_2."];

/// The part that a configuration without parts is of.
const UNET: &str = "unet";

/// The configuration of one network's adapters.
#[derive(Debug)]
pub(super) struct PeftConfig {
    /// Where it is, for messages.
    source: String,
    rank: Option<usize>,
    alpha: f64,
    rank_stabilised: bool,
    ranks: Patterns<usize>,
    alphas: Patterns<f64>,
}

impl PeftConfig {
    /// The configuration beside a file of adapters, if there is one.
    ///
    /// # Errors
    /// As [`Self::from_json`]; if the file cannot be read.
    pub(super) fn beside(file: &Path) -> Result<Option<Self>> {
        let path = file.with_file_name(FILE);
        let label = path.display().to_string();
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::from_json(&text, &label, None),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => bail!(
                "{label}: cannot be read: {e}\n  hint: it holds the strength of the LoRA; make it readable, or copy the folder as a whole"
            ),
        }
    }

    /// From JSON; `source` is where it is. In the metadata of a pipeline the keys of each part have its name before them, and `part` is
    /// the one that is meant; without such names they are the U-Net's. `None` if none is of the part.
    ///
    /// # Errors
    /// If it is no configuration of a plain LoRA, or a value is out of range; with the key.
    pub(super) fn from_json(text: &str, source: &str, part: Option<&str>) -> Result<Option<Self>> {
        let all: InOrder = serde_json::from_str(text).map_err(|e| not_json(text, source, &e))?;
        let of_part = |key: &str| key.contains('.');
        let by_part = part.is_some() && all.0.iter().any(|(key, _)| of_part(key));
        let prefix = match part {
            Some(part) if by_part => format!("{part}."),
            Some(part) if part != UNET => return Ok(None),
            _ => String::new(),
        };
        let own =
            |(key, value): (String, Value)| Some((key.strip_prefix(&prefix)?.to_owned(), value));
        let entries: Vec<(String, Value)> = all.0.into_iter().filter_map(own).collect();
        if entries.is_empty() {
            return Ok(None);
        }
        let key = |name: &str| format!("{source}: `{prefix}{}`", printable_name(name));
        for (name, value) in &entries {
            if let Some(told) = refused(name, value) {
                let value = value.to_string();
                bail!("{} is {}: {told}", key(name), printable_name(&value))
            }
        }
        let table = |name: &str| {
            let table = InOrder::inside(text, &format!("{prefix}{name}"));
            table.map_err(|e| Error::msg(format!("{} is no table of patterns: {e}", key(name))))
        };
        let entries: Map<String, Value> = entries.into_iter().collect();
        let rank = match entries.get("r") {
            None | Some(Value::Null) => None,
            Some(value) => match positive(value) {
                Some(rank) => Some(rank),
                None => bail!(
                    "{} is {value}; a rank is a whole number of 1 or more",
                    key("r")
                ),
            },
        };
        let alpha = match entries.get("lora_alpha") {
            None => ALPHA,
            Some(value) => match value.as_f64() {
                Some(alpha) if alpha.is_finite() => alpha,
                _ => bail!("{} is {value}; a number is needed", key("lora_alpha")),
            },
        };
        let rank_stabilised = match entries.get("use_rslora") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(it)) => *it,
            Some(value) => bail!("{} is {value}; true or false is needed", key("use_rslora")),
        };
        Ok(Some(Self {
            source: source.to_owned(),
            rank,
            alpha,
            rank_stabilised,
            ranks: Patterns::new(table("rank_pattern")?, &key("rank_pattern"), positive)?,
            alphas: Patterns::new(table("alpha_pattern")?, &key("alpha_pattern"), |v| {
                v.as_f64().filter(|alpha| alpha.is_finite())
            })?,
        }))
    }

    /// Where it is, for messages.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// α of the module that the file calls `place`, whose A has `rank` rows: the product B A is scaled by α / `rank`.
    ///
    /// # Errors
    /// If the configuration gives the module another rank, or a pattern cannot be used.
    pub(super) fn alpha(&self, place: &str, rank: usize) -> Result<f64> {
        // The module's name in the model that was wrapped.
        let name = match place.rsplit_once(WRAPPED) {
            Some((_, inner)) => inner,
            None => {
                let inner = PARTS.iter().find_map(|part| place.strip_prefix(part));
                inner.unwrap_or(place)
            }
        };
        let source = &self.source;
        let told = |e| Error::msg(format!("{source}: {e}"));
        let listed = self.ranks.get(name).map_err(told)?.or(self.rank);
        if let Some(listed) = listed.filter(|listed| *listed != rank) {
            bail!(
                "{source} gives module {name} the rank {listed}, its matrices have {rank}\n  hint: file and configuration are of two trainings; copy the folder as a whole"
            )
        }
        let alpha = self.alphas.get(name).map_err(told)?.unwrap_or(self.alpha);
        // Rank-stabilised: the product is scaled by α / √r.
        Ok(if self.rank_stabilised {
            alpha * (rank as f64).sqrt()
        } else {
            alpha
        })
    }
}

fn positive(value: &Value) -> Option<usize> {
    usize::try_from(value.as_u64()?).ok().filter(|n| *n > 0)
}

fn not_json(text: &str, source: &str, error: &serde_json::Error) -> Error {
    // Python writes them, JSON has no such numbers.
    let odd = ["NaN", "Infinity"]
        .into_iter()
        .find(|word| text.contains(word));
    let cause = match odd {
        Some(word) => format!("{word} is no number ({error})"),
        None => format!("this is no JSON table ({error})"),
    };
    Error::msg(format!(
        "{source}: {cause}\n  hint: it holds the strength of the LoRA; copy it again from where the LoRA came from"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alpha(json: &str, place: &str, rank: usize) -> f64 {
        let config = PeftConfig::from_json(json, "it", Some(UNET))
            .unwrap()
            .unwrap();
        config.alpha(place, rank).unwrap()
    }

    #[test]
    fn the_strength_is_that_of_peft() {
        let place = "base_model.model.mid_block.attn1.to_q";
        for (more, scale) in [
            ("", 32.0 / 4.0),
            (r#", "use_rslora": true"#, 32.0 / 2.0),
            (r#", "alpha_pattern": {"to_q": 2}"#, 2.0 / 4.0),
            (r#", "alpha_pattern": {"to_k": 2}"#, 32.0 / 4.0),
            (
                r#", "alpha_pattern": {".*attn1.*": 1, "to_q": 2}"#,
                1.0 / 4.0,
            ),
            (
                r#", "alpha_pattern": {"to_q": 2, ".*attn1.*": 1}"#,
                2.0 / 4.0,
            ),
            (
                r#", "alpha_pattern": {"to_q": 2}, "use_rslora": true"#,
                2.0 / 2.0,
            ),
            (
                r#", "use_dora": false, "modules_to_save": null, "bias": "none""#,
                8.0,
            ),
        ] {
            let json = format!(r#"{{"peft_type": "LORA", "r": 4, "lora_alpha": 32{more}}}"#);
            assert_eq!(alpha(&json, place, 4) / 4.0, scale, "{json}");
        }
        let json = r#"{"r": 8, "lora_alpha": 32, "rank_pattern": {"to_q": 4}, "alpha_pattern": {"^mid_block.*": 1}}"#;
        assert_eq!(alpha(json, place, 4), 1.0);
        assert_eq!(alpha(json, "up.to_k", 8), 32.0);
        // peft's own value where there is none.
        assert_eq!(alpha(r#"{"r": 4}"#, place, 4), 8.0);
    }

    #[test]
    fn of_a_pipeline_each_part_has_its_own() {
        let json = r#"{"text_encoder.lora_alpha": 1, "unet.lora_alpha": 3, "unet.alpha_pattern": {"^mid_block.to_q": 5}}"#;
        assert_eq!(alpha(json, "unet.mid_block.to_q", 4), 5.0);
        assert_eq!(alpha(json, "unet.mid_block.to_k", 4), 3.0);
        let of = |json: &str, part| PeftConfig::from_json(json, "it", Some(part)).unwrap();
        let text = of(json, "text_encoder").unwrap();
        for place in [
            "text_encoder.text_model.encoder.layers.0.mlp.fc1",
            "mlp.fc1",
        ] {
            assert_eq!(text.alpha(place, 4).unwrap(), 1.0);
        }
        assert!(of(json, "text_encoder_2").is_none());
        // Without parts it is the U-Net's, as save_lora_adapter writes it.
        assert!(of(r#"{"lora_alpha": 1}"#, "text_encoder").is_none());
        let anchored =
            r#"{"text_encoder_2.alpha_pattern": {"layers.1.mlp.fc1": 7, "^encoder": 3}}"#;
        let anchored = of(anchored, "text_encoder_2").unwrap();
        let alpha = |n: usize| {
            let place = format!("text_encoder_2.text_model.encoder.layers.{n}.mlp.fc1");
            anchored.alpha(&place, 4).unwrap()
        };
        assert_eq!((alpha(1), alpha(11)), (7.0, ALPHA));
        let told = PeftConfig::from_json(
            r#"{"text_encoder.use_dora": true}"#,
            "it",
            Some("text_encoder"),
        );
        let told = told.unwrap_err().to_string();
        assert!(told.contains("`text_encoder.use_dora` is true"), "{told}");
        let text = r#"{"text_encoder.lora_alpha": 1}"#;
        assert!(of(text, UNET).is_none());
    }

    #[test]
    fn what_is_no_plain_lora_is_refused_with_its_key() {
        for (json, told) in [
            (r#"{"peft_type": "LOHA"}"#, "`peft_type` is \"LOHA\""),
            (r#"{"use_dora": true}"#, "`use_dora` is true"),
            (r#"{"bias": "all"}"#, "`bias`"),
            (r#"{"modules_to_save": ["conv_in"]}"#, "`modules_to_save`"),
            (r#"{"layer_replication": [[0, 4]]}"#, "`layer_replication`"),
            (
                r#"{"init_lora_weights": "pissa_niter_16"}"#,
                "path_initial_model_for_weight_conversion",
            ),
            (
                r#"{"strength": 2}"#,
                "`strength` is 2: this key is not known",
            ),
            (r#"{"unet.use_dora": true}"#, "`unet.use_dora`"),
            (r#"{"r": 0}"#, "`r` is 0"),
            (r#"{"r": 4.5}"#, "`r` is 4.5"),
            (r#"{"lora_alpha": "32"}"#, "`lora_alpha` is \"32\""),
            (r#"{"lora_alpha": null}"#, "`lora_alpha` is null"),
            (r#"{"lora_alpha": NaN}"#, "NaN is no number"),
            (r#"{"lora_alpha": 1e999}"#, "no JSON table"),
            (r#"{"use_rslora": "yes"}"#, "`use_rslora`"),
            (
                r#"{"rank_pattern": {"to_q": 0}}"#,
                "the value of `to_q` is 0",
            ),
            (r#"{"alpha_pattern": {"(": 1}}"#, "`(` cannot be read"),
            (r#"{"alpha_pattern": [1]}"#, "`alpha_pattern` is no table"),
            ("[]", "no JSON table"),
            ("", "no JSON table"),
        ] {
            let message = PeftConfig::from_json(json, "it", Some(UNET))
                .unwrap_err()
                .to_string();
            assert!(message.contains(told), "{json}: {message}");
        }
        let config = PeftConfig::from_json(r#"{"r": 8}"#, "it", Some(UNET))
            .unwrap()
            .unwrap();
        let message = config.alpha("to_q", 4).unwrap_err().to_string();
        assert!(
            message.contains("the rank 8") && message.contains("have 4"),
            "{message}"
        );
    }
}
