//! What a path holds, so that a verb that is given the wrong thing can say which verb fits.

use rpo_diffusion::checkpoint::is_lora;
use rpo_nn::weights::Archive;
use std::path::Path;

/// Something that the program knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thing {
    /// A run folder.
    Run,
    /// A model folder in diffusers layout.
    Model,
    /// The folder of one part, or of an encoder.
    Part,
    /// The folder of a LoRA.
    LoraFolder,
    /// An experiment file.
    Experiment,
    /// A single-file checkpoint.
    Checkpoint,
    /// A LoRA file.
    LoraFile,
    /// Keys and values of a trained U-Net.
    CustomDiffusion,
    /// A file of weights of something else.
    Weights,
    /// A pickle of PyTorch.
    Pickle,
    /// A device or a pipe.
    Device,
    /// Another file.
    File,
    /// Another folder.
    Folder,
}

impl Thing {
    /// What is at `path`; `None` if nothing is.
    pub fn at(path: &Path) -> Option<Self> {
        let has = |name: &str| path.join(name).exists();
        if path.is_dir() {
            return Some(match () {
                () if has("resolved.toml") || has("run.json") => Self::Run,
                () if has("model_index.json") => Self::Model,
                () if has("config.json") => Self::Part,
                () if has("adapter_config.json") || has("pytorch_lora_weights.safetensors") => {
                    Self::LoraFolder
                }
                () => Self::Folder,
            });
        }
        if !path.exists() {
            return None;
        }
        // A pipe would wait for a writer.
        if !path.is_file() {
            return Some(Self::Device);
        }
        Some(match path.extension().and_then(|e| e.to_str()) {
            Some("safetensors") => of_weights(path),
            Some("ckpt" | "pt" | "pth" | "bin") => Self::Pickle,
            Some("toml") => Self::Experiment,
            _ => Self::File,
        })
    }

    /// As the object of a sentence.
    pub fn name(self) -> &'static str {
        match self {
            Self::Run => "a run folder",
            Self::Model => "a model folder",
            Self::Part => "the folder of one part or encoder",
            Self::LoraFolder => "the folder of a LoRA",
            Self::Experiment => "an experiment file",
            Self::Checkpoint => "a single-file checkpoint",
            Self::LoraFile => "a LoRA",
            Self::CustomDiffusion => "a Custom Diffusion file of keys and values",
            Self::Weights => "a file of weights",
            Self::Pickle => {
                "a pickle of PyTorch, which runs code when it is read and is not read here"
            }
            Self::Device => "a device or a pipe",
            Self::File => "a file",
            Self::Folder => "a folder without run.json, model_index.json or config.json",
        }
    }

    /// The verb that takes it.
    pub fn hint(self, path: &Path) -> String {
        let path = path.display();
        match self {
            Self::Run => format!(
                "the command that began it resumes it; rpo-train generate {path} draws with it, rpo-train export {path} --to FOLDER makes a model of it"
            ),
            Self::Model => format!(
                "an experiment names it as model.path; rpo-train export {path} --to NAME.safetensors makes one file of it"
            ),
            Self::Part => "give the model's folder, in which this is one".into(),
            Self::LoraFolder | Self::LoraFile => format!(
                "rpo-train lora merge {path} --model MODEL --to FOLDER, or rpo-train generate RUN --lora {path}"
            ),
            Self::Experiment => format!("rpo-train run {path}"),
            Self::Checkpoint => format!(
                "make a model folder of it: rpo-train import {path} --config-from FOLDER --to NEW_FOLDER"
            ),
            Self::CustomDiffusion => {
                "draw with the run that made it, or make a whole model: rpo-train export RUN --to FOLDER".into()
            }
            Self::Weights => format!(
                "give a whole model; if this is a single-file checkpoint, make a folder of it: rpo-train import {path} --config-from FOLDER --to NEW_FOLDER"
            ),
            Self::Pickle => {
                "convert it to safetensors, then make a folder of it with rpo-train import".into()
            }
            Self::Device | Self::File | Self::Folder => "check the path".into(),
        }
    }

    /// The message that `path` is this and `wanted` something else, with the verb that fits.
    pub fn refused(self, path: &Path, wanted: &str) -> String {
        format!(
            "{} is {}, {wanted}\n  hint: {}",
            path.display(),
            self.name(),
            self.hint(path)
        )
    }
}

/// Told by the headers' names.
fn of_weights(path: &Path) -> Thing {
    let Ok(archive) = Archive::open(path) else {
        return Thing::Weights;
    };
    // Keys of a LoRA may begin as those of a checkpoint do.
    let of_checkpoint = |name: &str| {
        name.contains("model.diffusion_model.") && !is_lora(name) && !name.ends_with(".alpha")
    };
    if archive.names().any(of_checkpoint) {
        Thing::Checkpoint
    } else if archive.names().any(is_lora) {
        Thing::LoraFile
    } else if archive.names().any(|n| n.contains("_custom_diffusion.")) {
        Thing::CustomDiffusion
    } else {
        Thing::Weights
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rpo_nn::weights::{Item, Precision, write};

    #[test]
    fn files_of_weights_are_told_apart_by_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let of = |names: &[&str]| {
            let path = folder.path().join("x.safetensors");
            let items: Vec<Item> = names
                .iter()
                .map(|name| Item::new(*name, [1], || Ok(vec![1.0])))
                .collect();
            write(&path, &items, Precision::F32, &Default::default()).unwrap();
            Thing::at(&path)
        };
        let unet = "model.diffusion_model.input_blocks.0.0.weight";
        let down = "model.diffusion_model.a.to_q.lora_down.weight";
        let alpha = "model.diffusion_model.a.to_q.alpha";
        assert_eq!(of(&[unet]), Some(Thing::Checkpoint));
        assert_eq!(of(&[alpha, down]), Some(Thing::LoraFile));
        // A LoRA that was left within a checkpoint.
        assert_eq!(of(&[unet, alpha, down]), Some(Thing::Checkpoint));
        assert_eq!(
            of(&["lora_unet_a.alpha", "lora_unet_a.lora_up.weight"]),
            Some(Thing::LoraFile)
        );
        assert_eq!(of(&["conv_in.weight"]), Some(Thing::Weights));
        let keys = "mid.attn2.processor.to_k_custom_diffusion.weight";
        assert_eq!(of(&[keys]), Some(Thing::CustomDiffusion));
    }
}
