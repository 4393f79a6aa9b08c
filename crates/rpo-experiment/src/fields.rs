//! The keys of an experiment file with their defaults. One struct a table, one field a key.

use crate::solver::Solver;
use rpo_reward::Mean;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A whole experiment. Every key has a default, so a file names only what it is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Experiment {
    /// Name of the run; the run folder is `<output>/<name>-<hash of what the file means and of its inputs>`.
    pub name: String,
    /// The table or figure that the experiment reproduces.
    pub reproduces: String,
    /// Folder that run folders and the cache of drawn pictures are made in. It is no part of what a run is: a run that
    /// has moved to another disk goes on there.
    pub output: String,
    /// One trajectory is trained for each subject, arm and seed.
    pub seeds: Vec<u64>,
    /// The diffusion model.
    pub model: Model,
    /// The encoders of the reward and of the evaluation.
    pub encoders: Encoders,
    /// Whose pictures are learned.
    pub subjects: Subjects,
    /// How pictures are drawn: negatives, validation and test alike.
    pub sampler: Sampler,
    /// The optimiser and its length.
    pub training: Training,
    /// Low-rank adapters to train instead of the whole U-Net; without this table the whole U-Net is trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<Lora>,
    /// The recipe: `preset` names one (`paper`, `official`, `dreambooth`, `ours`), every other key replaces one of its values.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub recipe: toml::Table,
    /// Arms that change the training; without any there is one arm, the recipe itself.
    #[serde(rename = "arm")]
    pub arms: Vec<Arm>,
    /// When trajectories are scored.
    pub validation: Validation,
    /// The rules that choose a checkpoint from the validation scores.
    pub rules: Rules,
    /// The pictures that results are computed from.
    pub test: Test,
}

/// `[model]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Model {
    /// `sd15`, `sd21` or `sdxl-lora`: the model, its encoders, size, token and learning rate as `experiments/presets` has them;
    /// keys of the file win. Anything else is a `path`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub preset: String,
    /// A diffusers folder, or a repository of the Hugging Face hub, `org/name` or `org/name@revision`; `micro` is the embedded
    /// model.
    pub path: String,
    /// Which weights to take where a part has several: `fp16` for `diffusion_pytorch_model.fp16.safetensors`. Parts without it
    /// give their plain file, which without this key comes first everywhere.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// `cpu`; `cuda` or `cuda:1`, in a program built with the feature `cuda`; `auto`: the first GPU if there is one that such a
    /// program can use.
    pub device: String,
    /// dtype of activations: `f32`; `bf16`, on CUDA, with weights that are trained, moments, norms, softmax and loss in f32;
    /// `auto`: f32 on the CPU, bf16 on CUDA.
    pub dtype: String,
    /// Side of the pictures in pixels; 0 takes the model's own size.
    pub size: u32,
    /// Memory that the run may take, in GB; 0: what is free when it starts. A run whose estimate is larger is refused.
    pub memory_gb: f64,
}

impl Model {
    /// The variant of the diffusion model's weights, if the file names one.
    pub fn variant(&self) -> Option<&str> {
        Some(self.variant.as_str()).filter(|v| !v.is_empty())
    }
}

/// `[encoders]`: transformers folders, repositories of the Hugging Face hub, or a name below `micro/` in the embedded model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Encoders {
    /// The reward's encoder: an `AlignModel` (ALIGN-I, ALIGN-T) or a `CLIPModel`.
    pub reward: String,
    /// The judge of CLIP-I and CLIP-T: a `CLIPModel`.
    pub clip: String,
    /// The judge of image similarity: a `ViTModel`.
    pub vit: String,
    /// What the tables call the image judge: `ViT-I` unless the folder really is DINO.
    pub vit_name: String,
    /// What computed the metrics, printed beside their names.
    pub label: String,
    /// Whether CLIP-T's text has the subject's token: most peers remove it, the official code keeps it.
    pub clip_text: RewardText,
    /// Whether the text of test pictures has the subject's token for the reward's encoder. One rule for all arms, so that
    /// their test rewards compare; in training and validation the recipe's `token_in_reward` says it.
    pub reward_text: RewardText,
}

/// Whether a subject's token stays in the text that an encoder reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RewardText {
    /// `a [V] dog in the snow` stays as it is.
    Keep,
    /// `a dog in the snow`.
    Remove,
}

impl RewardText {
    /// As tables say it.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Keep => "token kept",
            Self::Remove => "token removed",
        }
    }
}

impl Encoders {
    /// An encoder as tables name it: with the label in front, unless its folder begins with it.
    pub fn in_words(&self, folder: &str) -> String {
        match folder.starts_with(&self.label) {
            true => folder.to_owned(),
            false => format!("{} {folder}", self.label),
        }
    }
}

/// `[subjects]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Subjects {
    /// Where the subjects come from.
    pub source: SubjectSource,
    /// `stickerbench`: how many of its 75 subjects; `dreambench`: the first so many folders, 0 for all.
    pub count: usize,
    /// `stickerbench`: seed of its looks and scenes.
    pub seed: u64,
    /// `folder`: the photos; `dreambench`: the folder `dataset` of the benchmark.
    pub path: String,
    /// `folder`: what the subject is, as one would say it: "dog".
    pub class: String,
    /// The rare token that stands for the subject in prompts.
    pub token: String,
    /// `folder`: whether the subject is an animal or a person (other DreamBench prompts).
    pub live: bool,
}

/// Where subjects come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubjectSource {
    /// Rendered subjects with exact captions; needs nothing.
    Stickerbench,
    /// One folder of photos.
    Folder,
    /// A folder of subject folders in DreamBench's layout.
    Dreambench,
}

/// `[sampler]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sampler {
    /// `ddpm`, `ddim`, `pndm`, `euler`, `euler_karras`, `euler_ancestral`, `dpmpp_2m`, `dpmpp_2m_karras`, or `scheduler`:
    /// the one that the model's scheduler_config.json names. docs/schedulers.md says what each reads from that file.
    #[schemars(with = "String")]
    pub solver: Solver,
    /// `ddim`: how much of DDPM's noise each step adds, in \[0, 1\].
    pub eta: f64,
    /// Solver steps a picture.
    pub steps: usize,
    /// Classifier-free guidance; 1 is none.
    pub guidance: f64,
    /// `[from, to]`: the part of the trajectory that is guided, from the noise (0) to the picture (1); evaluation k of n is where
    /// from <= k / n < to. Elsewhere the unconditional half is not computed. Without this key all of it is guided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guidance_interval: Option<[f64; 2]>,
    /// Pictures drawn at a time.
    pub batch: usize,
}

impl Sampler {
    /// Whether evaluation `k` of `n` is guided: without guidance none is, else those of the interval.
    pub fn is_guided(&self, k: usize, n: usize) -> bool {
        let place = k as f64 / n as f64;
        let within = |[from, to]: [f64; 2]| (from..to).contains(&place);
        self.guidance != 1.0 && self.guidance_interval.is_none_or(within)
    }
}

/// `[training]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Training {
    /// Gradient steps at most.
    pub steps: usize,
    /// AdamW's learning rate, constant.
    pub learning_rate: f64,
    /// AdamW's first decay rate.
    pub beta1: f64,
    /// AdamW's second decay rate.
    pub beta2: f64,
    /// AdamW's ε.
    pub eps: f64,
    /// AdamW's decoupled weight decay.
    pub weight_decay: f64,
    /// Pairs (reference, negative) a step.
    pub batch: usize,
    /// Parts that a step's batch is computed in, one after the other, to save memory: `batch` must be a multiple of it.
    /// The step is that of the whole batch up to rounding.
    pub gradient_accumulation: usize,
    /// Whether blocks of the U-Net are computed again in the backward pass, to save memory at the price of a third forward.
    /// Without this key: where the U-Net has 100 million parameters or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recompute: Option<bool>,
    /// The state is saved at every validation and, between them, when so many minutes have passed: that much is lost to a kill
    /// at most. 0: at validations alone.
    pub save_minutes: f64,
}

/// `[[arm]]`: a training that differs from the others in keys of the recipe or of the optimiser.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Arm {
    /// Name in tables and folders.
    pub name: String,
    /// Keys of `[recipe]` that this arm replaces.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub recipe: toml::Table,
    /// Keys of `[training]` that this arm replaces.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub training: toml::Table,
    /// Keys of `[lora]` that this arm replaces. Without a table `[lora]`, the arms that have this key train adapters and the
    /// others the whole U-Net.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<BTreeMap<String, serde_json::Value>>")]
    pub lora: Option<toml::Table>,
}

/// `[lora]`: peft's names and meaning. The learning rate and the rest of the optimiser are those of `[training]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Lora {
    /// r, the inner width of every adapter.
    pub rank: usize,
    /// α; an adapter counts α / r times. Without this key α = r.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// Modules that get an adapter, by the ends of their names: `to_q`, `to_k`, `to_v`, `to_out.0`; also `proj_in`, `proj_out`,
    /// `ff.net.0.proj`, `ff.net.2`, `conv1`, `conv2`, `conv_shortcut`, `time_emb_proj`.
    pub targets: Vec<String>,
    /// Probability that an element of an adapter's input is dropped in a training step.
    pub dropout: f64,
}

/// `[validation]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Validation {
    /// Gradient steps between two validations; step 0 is always scored.
    pub every: usize,
    /// Pictures a validation prompt.
    pub pictures_per_prompt: usize,
    /// The first so many validation prompts; 0 for all.
    pub prompts: usize,
}

/// `[rules]`: every λ with every mean is one rule over the same scores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// λ_val: weight of the image alignment, in \[0, 1\].
    pub lambda: Vec<f64>,
    /// `harmonic`, `arithmetic`, `geometric`.
    #[schemars(with = "Vec<String>")]
    pub mean: Vec<Mean>,
    /// Validations without a new best after which a rule stops; 0 runs all steps and takes the best, as the paper does.
    /// Without this key: 0 if the preset of any arm is `paper` or `official`, else 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<usize>,
    /// Also report the last step: what one gets without a rule. Trajectories then run to the limit.
    pub last: bool,
}

/// `[test]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Test {
    /// Pictures a test prompt.
    pub pictures_per_prompt: usize,
    /// The first so many test prompts; 0 for all.
    pub prompts: usize,
}
