//! Which files of a repository are needed, and which of them a folder lacks.

use rpo_encoders::folder;
use serde_json::Value;
use std::path::Path;

/// What a folder must contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A diffusers pipeline: one folder per part.
    Pipeline,
    /// The same without its weights.
    Configurations,
    /// A transformers model: everything in one folder.
    Encoder,
}

impl Content {
    /// The variant to look for in a repository: only for the diffusion model, if the file names one.
    pub fn variant(self, model: &rpo_experiment::Model) -> Option<&str> {
        model.variant().filter(|_| self == Self::Pipeline)
    }
}

/// Parts of a pipeline with weights.
const NETWORKS: [&str; 4] = ["unet", "vae", "text_encoder", "text_encoder_2"];

/// Parts of a pipeline without weights.
const SMALL: [&str; 3] = ["tokenizer", "tokenizer_2", "scheduler"];

/// The files of a repository to download: configurations, tokenizers, and one set of weights per network, the `variant`
/// where it exists.
pub fn wanted(files: &[String], content: Content, variant: Option<&str>) -> Vec<String> {
    let networks: &[&str] = match content {
        Content::Pipeline | Content::Configurations => &NETWORKS,
        Content::Encoder => &[""],
    };
    let mut wanted = Vec::new();
    for part in networks {
        let names = within(files, part);
        let weights = match content {
            Content::Configurations => vec![],
            _ => folder::weight_names(&names, variant),
        };
        let small = names.iter().filter(|name| is_small(name)).cloned();
        wanted.extend(small.chain(weights).map(|name| join(part, &name)));
    }
    if content != Content::Encoder {
        for part in SMALL {
            let names = within(files, part);
            let small = names.iter().filter(|name| is_small(name));
            wanted.extend(small.map(|name| join(part, name)));
        }
        wanted.extend(files.iter().filter(|f| *f == "model_index.json").cloned());
    }
    wanted.sort();
    wanted.dedup();
    wanted
}

/// The names of the files in the folder `part`, not in folders below it.
fn within(files: &[String], part: &str) -> Vec<String> {
    let prefix = join(part, "");
    let names = files.iter().filter_map(|file| file.strip_prefix(&prefix));
    names
        .filter(|n| !n.contains('/'))
        .map(String::from)
        .collect()
}

fn join(part: &str, name: &str) -> String {
    if part.is_empty() {
        name.to_owned()
    } else {
        format!("{part}/{name}")
    }
}

fn is_small(name: &str) -> bool {
    let text = [".json", ".txt", ".model"]
        .iter()
        .any(|end| name.ends_with(end));
    // The lists of shards belong to the weights.
    text && !name.contains(".index.")
}

/// Something that a folder lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gap {
    /// A file, relative to the folder.
    File(String),
    /// Readable weights; the text says what was found instead.
    Weights(String),
}

/// The first thing that a folder lacks; `None` if it is complete.
pub fn missing(dir: &Path, content: Content, variant: Option<&str>) -> Option<Gap> {
    let lacks = |name: &str| (!dir.join(name).is_file()).then(|| Gap::File(name.to_owned()));
    let no_weights = |part: &str| {
        let found = folder::weight_files_of(&dir.join(part), variant);
        found.err().map(|e| Gap::Weights(e.to_string()))
    };
    if content == Content::Encoder {
        return lacks("config.json").or_else(|| no_weights(""));
    }
    if let Some(gap) = lacks("model_index.json") {
        return Some(gap);
    }
    let index = std::fs::read(dir.join("model_index.json")).unwrap_or_default();
    // A broken index is reported by the loader.
    let index: Value = serde_json::from_slice(&index).unwrap_or_default();
    let listed = |part: &&&str| index[**part][1].is_string();
    for part in NETWORKS.iter().filter(listed) {
        let weights = || {
            (content == Content::Pipeline)
                .then(|| no_weights(part))
                .flatten()
        };
        let gap = lacks(&join(part, "config.json")).or_else(weights);
        if gap.is_some() {
            return gap;
        }
    }
    SMALL.iter().filter(listed).find_map(|part| match *part {
        "scheduler" => lacks("scheduler/scheduler_config.json"),
        // transformers 5 writes everything into this file.
        part if dir.join(part).join("tokenizer.json").is_file() => None,
        part => lacks(&join(part, "vocab.json")).or_else(|| lacks(&join(part, "merges.txt"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(text: &str) -> Vec<String> {
        text.split_whitespace().map(String::from).collect()
    }

    /// The files of the published Stable Diffusion 1.5, with the single-file checkpoints.
    #[test]
    fn a_pipeline_needs_no_pickle_and_no_second_set_of_weights() {
        let all = files(
            ".gitattributes README.md model_index.json v1-5-pruned.ckpt v1-5-pruned-emaonly.safetensors v1-inference.yaml
             feature_extractor/preprocessor_config.json safety_checker/config.json safety_checker/model.safetensors
             scheduler/scheduler_config.json text_encoder/config.json text_encoder/model.safetensors
             text_encoder/model.fp16.safetensors text_encoder/pytorch_model.bin tokenizer/merges.txt
             tokenizer/special_tokens_map.json tokenizer/tokenizer_config.json tokenizer/vocab.json unet/config.json
             unet/diffusion_pytorch_model.bin unet/diffusion_pytorch_model.fp16.safetensors
             unet/diffusion_pytorch_model.non_ema.safetensors unet/diffusion_pytorch_model.safetensors vae/config.json
             vae/diffusion_pytorch_model.safetensors",
        );
        let always = "model_index.json scheduler/scheduler_config.json text_encoder/config.json tokenizer/merges.txt
             tokenizer/special_tokens_map.json tokenizer/tokenizer_config.json tokenizer/vocab.json unet/config.json
             vae/config.json vae/diffusion_pytorch_model.safetensors";
        let check = |variant, rest: &str| {
            let mut want = files(&format!("{always} {rest}"));
            want.sort();
            assert_eq!(wanted(&all, Content::Pipeline, variant), want);
        };
        check(
            None,
            "text_encoder/model.safetensors unet/diffusion_pytorch_model.safetensors",
        );
        check(
            Some("fp16"),
            "text_encoder/model.fp16.safetensors unet/diffusion_pytorch_model.fp16.safetensors",
        );
        check(
            Some("non_ema"),
            "text_encoder/model.safetensors unet/diffusion_pytorch_model.non_ema.safetensors",
        );
    }

    #[test]
    fn an_encoder_needs_its_folder_alone() {
        let all = files(
            "README.md config.json merges.txt model.safetensors preprocessor_config.json pytorch_model.bin tf_model.h5
             tokenizer.json vocab.json onnx/model.onnx onnx/config.json",
        );
        let want = "config.json merges.txt model.safetensors preprocessor_config.json tokenizer.json vocab.json";
        assert_eq!(wanted(&all, Content::Encoder, None), files(want));
        let sharded = files(
            "config.json model-00001-of-00002.safetensors model-00002-of-00002.safetensors model.safetensors.index.json",
        );
        assert_eq!(wanted(&sharded, Content::Encoder, None), sharded);
    }
}
