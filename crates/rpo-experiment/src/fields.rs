//! The keys of an experiment file with their defaults. One struct per table, one field per key.

use crate::candidates::Candidates;
use crate::image_adapter::ImageAdapter;
use crate::lora::Lora;
use crate::own::{OwnSubject, Prompts};
use crate::parts::Train;
use crate::rate::{Course, LrScheduler};
use crate::report::Report;
use crate::solver::Solver;
use crate::texts::{TextEncoder, Token};
use rpo_data::picture::Limit;
use rpo_reward::Mean;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A whole experiment. Every key has a default, so a file lists only what differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Experiment {
    /// Name of the run; the run folder is `<output>/<name>-<hash of what the file means and of its inputs>`.
    pub name: String,
    /// The table or figure that the experiment reproduces.
    pub reproduces: String,
    /// Folder of run folders and the cache of drawn pictures. It is not part of a run's identity: a run that was moved to
    /// another disk resumes there.
    pub output: String,
    /// One trajectory is trained for each subject, arm and seed.
    pub seeds: Vec<u64>,
    /// The diffusion model.
    pub model: Model,
    /// The encoders of the reward and of the evaluation.
    pub encoders: Encoders,
    /// The subjects to learn.
    pub subjects: Subjects,
    /// Several folders of photos, with `subjects.source = "folder"`; without any there is one, `subjects.path`.
    #[serde(rename = "subject", skip_serializing_if = "Vec::is_empty")]
    pub own_subjects: Vec<OwnSubject>,
    /// The prompts to train on, to choose by and to report.
    #[serde(skip_serializing_if = "Prompts::is_default")]
    pub prompts: Prompts,
    /// How all pictures are drawn: negatives, validation and test.
    pub sampler: Sampler,
    /// The optimiser and its length.
    pub training: Training,
    /// Low-rank adapters, trained where `train.parts` does not say otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<Lora>,
    /// Which parts of the model are trained; without it, those of the recipe's preset.
    #[serde(skip_serializing_if = "Train::is_usual")]
    pub train: Train,
    /// The new word, where `train.parts` has `token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Token>")]
    pub token: Option<toml::Table>,
    /// The text encoders, where `train.parts` has `text_encoder`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<TextEncoder>")]
    pub text_encoder: Option<toml::Table>,
    /// The image adapter, where `train.parts` has `image_adapter`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_adapter: Option<ImageAdapter>,
    /// The recipe: `preset` names one (`paper`, `official`, `official_sdxl`, `dreambooth`, `dreambooth_dpo`, `dpo`, `dco`, `ours`,
    /// `textual_inversion`, `custom_diffusion`, `lora_dreambooth`, `disenbooth`, `pivotal`, `rpo_lora`), every other key replaces one of
    /// its values.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub recipe: toml::Table,
    /// Arms that change the training; without any there is one arm, the recipe itself.
    #[serde(rename = "arm")]
    pub arms: Vec<Arm>,
    /// When trajectories are scored.
    pub validation: Validation,
    /// Further weights of the validated steps to choose from.
    #[serde(skip_serializing_if = "Candidates::is_usual")]
    pub candidates: Candidates,
    /// The rules that choose a checkpoint from the validation scores.
    pub rules: Rules,
    /// The pictures that results are computed from.
    pub test: Test,
    /// How results are compared.
    #[serde(skip_serializing_if = "Report::is_usual")]
    pub report: Report,
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
    /// Which weights to load where a part has several: `fp16` for `diffusion_pytorch_model.fp16.safetensors`. Parts without the
    /// variant use their plain file, which is preferred everywhere without this key.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// `cpu`; `cuda` or `cuda:1`, in a program built with the feature `cuda`; `auto`: the first usable GPU if any, else the CPU.
    pub device: String,
    /// dtype of activations: `f32`; `bf16`, only on CUDA, with trained weights, moments, norms, softmax and loss in f32; `auto`:
    /// f32 on the CPU, bf16 on CUDA.
    pub dtype: String,
    /// Side of the pictures in pixels; 0: the model's own size.
    pub size: u32,
    /// Memory limit of the run in GB; 0: what is free at its start. A run with a higher estimate is refused.
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
    /// Name of the image judge in tables: `ViT-I` unless the folder really is DINO.
    pub vit_name: String,
    /// What computed the metrics, printed beside their names.
    pub label: String,
    /// Whether CLIP-T's text has the subject's token: most published methods remove it, the official code keeps it.
    pub clip_text: RewardText,
    /// Whether the text that the reward's encoder reads for test pictures has the subject's token. The same for all arms, so
    /// that their test rewards are comparable; in training and validation the recipe's `token_in_reward` decides.
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
    /// Its wording in tables.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Keep => "token kept",
            Self::Remove => "token removed",
        }
    }
}

/// `[subjects]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Subjects {
    /// Source of the subjects.
    pub source: SubjectSource,
    /// `stickerbench`: number of subjects, 75 nouns and then these with other looks, `lion-2`; `dreambench`: number of folders from the first on, 0 for all.
    pub count: usize,
    /// `stickerbench`, `dreambench`: the subjects with these names, in this order: `["dog", "car"]`, `["dog6", "can"]`. `count` is
    /// not used then.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// `stickerbench`: seed of its looks and scenes.
    pub seed: u64,
    /// `stickerbench`: whether references have captions with their scenes, `a photo of a [v] lion on a wooden floor`, as photos with
    /// a text file beside them always have, instead of `recipe.instance_prompt`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub captions: bool,
    /// `folder`: the photos; `dreambench`: the folder `dataset` of the benchmark.
    pub path: String,
    /// `folder`: class word of the subject, such as "dog".
    pub class: String,
    /// Pictures of the class for prior preservation, in place of drawn ones: a folder of them, or one with a folder for each class.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub class_folder: String,
    /// The rare token that stands for the subject in prompts.
    pub token: String,
    /// `folder`: whether the subject is an animal or a person (other DreamBench prompts). Without it the class decides:
    /// "dog" and "girl" are, "toy dog" and words that are not known are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<bool>,
    /// `folder`, `dreambench`: largest photo that is read, in millions of pixels.
    #[serde(skip_serializing_if = "is_usual")]
    pub max_megapixels: f64,
}

/// Runs of before this key keep their names.
fn is_usual(megapixels: &f64) -> bool {
    *megapixels == Limit::MEGAPIXELS
}

/// Where subjects come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubjectSource {
    /// Rendered subjects with exact captions; needs no files.
    Stickerbench,
    /// One folder of photos, `subjects.path`, or several, `[[subject]]`.
    Folder,
    /// A folder of subject folders in DreamBench's layout.
    Dreambench,
}

impl SubjectSource {
    /// The benchmark whose prompts its subjects have.
    pub(super) fn benchmark(self) -> &'static str {
        match self {
            Self::Stickerbench => "stickerbench",
            Self::Folder | Self::Dreambench => "dreambench",
        }
    }
}

/// `[sampler]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sampler {
    /// `ddpm`, `ddim`, `pndm`, `euler`, `euler_karras`, `euler_ancestral`, `dpmpp_2m`, `dpmpp_2m_karras`, or `scheduler`:
    /// the one named in the model's scheduler_config.json. docs/schedulers.md says what each reads from that file.
    #[schemars(with = "String")]
    pub solver: Solver,
    /// `ddim`: how much of DDPM's noise each step adds, in \[0, 1\].
    pub eta: f64,
    /// Solver steps per picture.
    pub steps: usize,
    /// Scale of classifier-free guidance; 1: none.
    pub guidance: f64,
    /// `[from, to]`: the part of the trajectory that is guided, from the noise (0) to the picture (1); evaluation k of n is where
    /// from <= k / n < to. Elsewhere the unconditional half is not computed. Without this key the whole trajectory is guided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guidance_interval: Option<[f64; 2]>,
    /// Pictures per batch.
    pub batch: usize,
}

impl Sampler {
    /// Network passes over one picture in `n` evaluations: two where it is guided, in the interval, else one; with reward guidance one
    /// more there.
    pub fn passes(&self, n: usize, reward: bool) -> usize {
        let within = |k: usize| {
            let place = k as f64 / n as f64;
            let interval = self.guidance_interval;
            interval.is_none_or(|[from, to]| (from..to).contains(&place))
        };
        let more = usize::from(self.guidance != 1.0) + usize::from(reward);
        n + more * (0..n).filter(|k| within(*k)).count()
    }
}

/// `[training]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Training {
    /// Maximum number of gradient steps.
    pub steps: usize,
    /// AdamW's learning rate, after the warm-up.
    pub learning_rate: f64,
    /// How the learning rate goes on after the warm-up: `constant`, `linear`, `cosine`, `polynomial`, as in diffusers.
    #[serde(skip_serializing_if = "LrScheduler::is_constant")]
    pub lr_scheduler: LrScheduler,
    /// Steps over which the learning rate rises from 0.
    #[serde(skip_serializing_if = "is_zero")]
    pub lr_warmup_steps: usize,
    /// `polynomial`: the exponent.
    #[serde(skip_serializing_if = "is_one")]
    pub lr_power: f64,
    /// AdamW's first decay rate.
    pub beta1: f64,
    /// AdamW's second decay rate.
    pub beta2: f64,
    /// AdamW's ε.
    pub eps: f64,
    /// AdamW's decoupled weight decay.
    pub weight_decay: f64,
    /// Pairs (reference, negative) per step.
    pub batch: usize,
    /// Parts into which a step's batch is split, computed one after the other to save memory; must divide `batch`. The step
    /// equals that of the whole batch up to rounding.
    pub gradient_accumulation: usize,
    /// Whether blocks of the U-Net are recomputed in the backward pass, to save memory at the cost of a third forward.
    /// Without this key: if the U-Net has 100 million parameters or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recompute: Option<bool>,
    /// The state is saved at every validation and, in between, every so many minutes, so a kill loses at most that much work.
    /// 0: only at validations.
    pub save_minutes: f64,
}

impl Training {
    /// The learning rate of a step, from 1 on: a function of the step alone. The length is `steps`, also where rules end the training
    /// before.
    pub fn rate(&self, step: usize) -> f64 {
        let course = Course {
            scheduler: self.lr_scheduler,
            rate: self.learning_rate,
            steps: self.steps,
            warmup: self.lr_warmup_steps,
            power: self.lr_power,
        };
        course.at(step)
    }
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

fn is_one(power: &f64) -> bool {
    *power == 1.0
}

/// `[[arm]]`: a training that differs from the others in keys of the recipe, the optimiser or the adapters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Arm {
    /// Name in tables and folders.
    pub name: String,
    /// What readers of its results should know; printed beside them, without effect on the run.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// Keys of `[recipe]` that this arm replaces.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub recipe: toml::Table,
    /// Keys of `[training]` that this arm replaces.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub training: toml::Table,
    /// Keys of `[lora]` that this arm replaces. Without a table `[lora]`, arms with this key train adapters and the others what their
    /// preset trains.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<BTreeMap<String, serde_json::Value>>")]
    pub lora: Option<toml::Table>,
    /// The arm's `[train]`, in place of the file's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train: Option<Train>,
    /// Keys of `[token]` that this arm replaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Token>")]
    pub token: Option<toml::Table>,
    /// Keys of `[text_encoder]` that this arm replaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<TextEncoder>")]
    pub text_encoder: Option<toml::Table>,
}

/// `[validation]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Validation {
    /// Gradient steps between two validations; step 0 is always scored.
    pub every: usize,
    /// Pictures per validation prompt.
    pub pictures_per_prompt: usize,
    /// Number of validation prompts, from the first on; 0: all.
    pub prompts: usize,
    /// Instead of `every`, so many validations n after step 0 in every arm, whatever its steps: after ⌈i · steps / n⌉ of them for i from
    /// 1 to n. Arms of different lengths then have as many checkpoints to choose from. 0: `every` counts.
    #[serde(skip_serializing_if = "is_zero")]
    pub candidates: usize,
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
    /// Consecutive validations without a new best after which a rule stops; 0 runs all steps and takes the best, as the paper does.
    /// Without this key: 0 if the preset of any arm is `paper` or `official`, else 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<usize>,
    /// Also report the last step, the result without a rule. Trajectories then run to the limit.
    pub last: bool,
}

/// `[test]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Test {
    /// Pictures per test prompt.
    pub pictures_per_prompt: usize,
    /// Number of test prompts, from the first on; 0: all.
    pub prompts: usize,
}
