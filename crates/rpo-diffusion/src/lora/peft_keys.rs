//! Which keys of peft's configuration change the model in ways that are not read.

use serde_json::Value;

/// Keys that say how the adapters were trained or where they are; A and B tell the rest.
const NEUTRAL: [&str; 25] = [
    "peft_type",
    "r",
    "lora_alpha",
    "use_rslora",
    "rank_pattern",
    "alpha_pattern",
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "lora_dropout",
    "task_type",
    "auto_mapping",
    "base_model_name_or_path",
    "revision",
    "peft_version",
    "inference_mode",
    "runtime_config",
    "megatron_core",
    "qalora_group_size",
    "loftq_config",
    "eva_config",
    "ensure_weight_tying",
    // peft leaves it out for linear layers, the only ones it could concern.
    "fan_in_fan_out",
    "init_lora_weights",
];

/// Initial weights that leave the base as it is. Others subtract from it what the adapter begins with.
const PLAIN_STARTS: [&str; 4] = ["gaussian", "eva", "orthogonal", "mica"];

/// Why a key changes the model in a way that is not read; `None` if it does not.
pub(super) fn refused(key: &str, value: &Value) -> Option<&'static str> {
    let merge = "only plain LoRA (A and B, alpha) can be read\n  hint: merge it into the model with peft (merge_and_unload), and use the merged model";
    match (key, value) {
        ("peft_type", Value::String(kind)) if kind == "LORA" => None,
        ("peft_type", Value::Null) => None,
        ("peft_type", _) => Some(merge),
        ("bias", Value::String(bias)) if bias == "none" => None,
        ("bias", Value::Null) => None,
        ("bias", _) => Some(merge),
        ("init_lora_weights", Value::Bool(_) | Value::Null) => None,
        ("init_lora_weights", Value::String(start)) if PLAIN_STARTS.contains(&start.as_str()) => {
            None
        }
        ("init_lora_weights", _) => Some(
            "the training began by changing the base weights, so the adapter does not fit the model as it was\n  hint: save it with peft's save_pretrained(..., path_initial_model_for_weight_conversion=...), which writes a plain LoRA",
        ),
        _ if NEUTRAL.contains(&key) => None,
        (_, Value::Null | Value::Bool(false)) => None,
        (_, Value::Array(list)) if list.is_empty() => None,
        (_, Value::Object(table)) if table.is_empty() => None,
        (
            "use_dora"
            | "lora_bias"
            | "modules_to_save"
            | "layer_replication"
            | "target_parameters"
            | "trainable_token_indices"
            | "megatron_config"
            | "use_qalora"
            | "alora_invocation_tokens"
            | "velora_config"
            | "monteclora_config"
            | "kasa_config"
            | "arrow_config"
            | "use_bdlora"
            | "corda_config"
            | "lora_ga_config",
            _,
        ) => Some(merge),
        _ => Some(
            "this key is not known, and may change what the LoRA does\n  hint: if it does not, remove it from the configuration",
        ),
    }
}
