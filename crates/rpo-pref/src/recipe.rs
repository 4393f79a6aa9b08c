//! Recipes: every known difference between the paper, its published code and DreamBooth is one key.

use serde::{Deserialize, Serialize};

use crate::labels::LabelKind;
use crate::loss::Norm;
use crate::pairs::{LabelReward, Pairs};
use crate::preferred::Angle;
use crate::terms::{self, Network, Objective, Rows};

mod choices;
mod masks;
mod preset;
mod prompts;
mod published;
mod rounds;

pub use choices::{
    Augment, Crop, Latent, ReferencePrompt, Sharing, TokenInReward, ValidationNoise,
    ValidationPrompts,
};
pub use preset::Preset;
pub use prompts::{ClassPrompt, InstancePrompt};
pub use rounds::Share;

/// Declares [`Recipe`] and, with the same keys, all optional, [`RecipeKeys`].
macro_rules! recipe {
    ($($(#[doc = $doc:literal])+ $key:ident: $type:ty $(, $with:literal, $present:literal)? $(= $usual:ident)?;)+) => {
        /// The method of one training: losses, labels, pairs and data. Complete: only keys that older records lack have a default.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Recipe {
            $(
                $(#[doc = $doc])+
                $(#[serde(with = $with)])?
                $(#[serde($usual, skip_serializing_if = "is_usual")])?
                pub $key: $type,
            )+
        }

        /// A preset and the keys in which an experiment differs from it, as in an experiment file.
        #[derive(Clone, Debug, PartialEq, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct RecipeKeys {
            /// The recipe to start from.
            pub preset: Preset,
            $($(#[doc = $doc])+ #[serde(default $(, deserialize_with = $present)?)] pub $key: Option<$type>,)+
        }

        impl RecipeKeys {
            /// The preset with these keys, checked.
            ///
            /// # Errors
            /// [`RecipeError`] with the first key that is out of range.
            pub fn resolve(&self) -> Result<Recipe, RecipeError> {
                let preset = self.preset.recipe();
                let recipe = Recipe { $($key: self.$key.clone().unwrap_or(preset.$key),)+ };
                recipe.check()?;
                Ok(recipe)
            }
        }

        impl From<Preset> for RecipeKeys {
            fn from(preset: Preset) -> Self {
                Self { preset, $($key: None,)+ }
            }
        }
    };
}

recipe! {
    /// The meaning of `||·||²` in L_sim and ℓ.
    norm: Norm;
    /// The prompt of x_ref in ℓ.
    reference_prompt: ReferencePrompt;
    /// The timestep of a pair.
    pair_timestep: Sharing;
    /// The noise of a pair.
    pair_noise: Sharing;
    /// How pairs are drawn.
    pairs: Pairs;
    /// Whose rewards determine the label.
    label_reward: LabelReward;
    /// Pictures that the base model draws for each training prompt; with `rounds`, the trained model, in each of them.
    negatives_per_prompt: usize;
    /// Training prompts that these pictures are drawn for, from the first on; 0: all.
    negative_prompts: usize = default;
    /// Maximum global norm of the gradient; `"none"`: no clipping.
    clip_grad_norm: Option<f64>, "rpo_reward::optional", "rpo_reward::optional::present";
    /// Whether the text that the reward model reads has the subject's token.
    token_in_reward: TokenInReward;
    /// How references are cropped to a square.
    crop: Crop;
    /// Which latent of the VAE's posterior is used.
    latent: Latent;
    /// The noise of validation pictures.
    validation_noise: ValidationNoise;
    /// The prompts of validation pictures.
    validation_prompts: ValidationPrompts;
    /// β of Eq. 8, and of the consistency loss. The official `train.py` parses one and uses 1.
    beta: f64;
    /// τ in `σ((r_ref - r_gen) / τ)`; the paper has none, so 1.
    tau: f64;
    /// How a probability becomes a label.
    label: LabelKind;
    /// λ of the rewards for the labels, 0 to 1.
    lambda_train: f64;
    /// Weight of L_sim.
    l_sim_weight: f64;
    /// Weight of L_pref.
    l_pref_weight: f64;
    /// Weight of DreamBooth's prior preservation: the squared error on the base model's pictures of `class_prompt`.
    prior_weight: f64;
    /// Number of class pictures. DreamBooth's paper draws 1000, its diffusers example 200.
    class_pictures: usize;
    /// Weight of output preservation: `||ε_θ - ε_base||²` on the noised references under their prompt without the token, a prior that
    /// needs no pictures.
    preservation_weight: f64 = default;
    /// Weight of DCO's consistency loss, `-log σ(-β (e_θ(x_ref, c) - e_base(x_ref, c without the token)))`, with the means over the
    /// batch.
    consistency_weight: f64 = default;
    /// Weight of DisenBooth's weak denoising: L_sim's squared error on the same noised references under c alone, where an image adapter
    /// adds to the c of L_sim.
    weak_denoising_weight: f64 = default;
    /// Weight of DisenBooth's contrastive embedding: the mean over the references of cos(mean over the tokens of c, what the image
    /// adapter adds).
    contrastive_weight: f64 = default;
    /// γ of min-SNR weights on L_sim (Hang et al. 2023): `min(SNR, γ) / SNR` for networks that predict the noise, over `SNR + 1`
    /// for those that predict the velocity; `"none"`: no weights.
    min_snr_gamma: Option<f64>, "rpo_reward::optional", "rpo_reward::optional::present" = default;
    /// Whether a reference is mirrored left to right in half of the steps that draw it.
    flip: bool = default;
    /// Whether L_sim counts only the subject: the error of a reference is the mean over its mask, `Σ m e / (C Σ m)` over the latents'
    /// channels and cells. diffusers' Custom Diffusion divides by `Σ m` alone, C times as much, which is `l_sim_weight = 4` here.
    masked: bool = default;
    /// How references are shown in a step: `none`, as they are; `custom_diffusion`, smaller on grey or enlarged, under prompts that say
    /// so, with a mask of their place.
    augment: Augment = default;
    /// Whether key and value of a text's first token, which begins every text, carry no gradient in cross-attention, as Custom
    /// Diffusion has it. Predictions are the same.
    detach_first_token: bool = default;
    /// c of Eq. 7: the prompt of references without a caption. `{}` stands for token and class: `a photo of {}`, as in the paper.
    instance_prompt: InstancePrompt = default;
    /// The prompt of the class's pictures. `{}` stands for the class: `a photo of a {}`.
    class_prompt: ClassPrompt = default;
    /// w_r of DCO's reward guidance, with which validation and test pictures are drawn: `ε_b(∅) + w [ε_b(c) - ε_b(∅)] +
    /// w_r [ε_θ(c_V) - ε_b(c)]`, with the base ε_b, w the sampler's guidance and c the prompt without the token; `"none"`: guidance
    /// of the trained network alone.
    reward_guidance: Option<f64>, "rpo_reward::optional", "rpo_reward::optional::present" = default;
    /// Rounds of preferences between the trained model's own pictures (DreamBoothDPO): the model draws, pairs of its pictures are kept
    /// by `angle`, and L_pref is theirs, against the model that drew, without L_sim and prior. 0: none, L_pref is of references and
    /// pictures of the base model.
    rounds: usize = default;
    /// The share of the steps before the first round, which train on the other losses alone.
    rounds_from: Share = default;
    /// Which pairs of a round are kept, `[from, to]` in degrees: the winner is better in both scores, and the angle of the gains in
    /// ALIGN-T (0) and ALIGN-I (90) lies between.
    angle: Angle = default;
}

fn is_usual<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A key of a recipe with an invalid value.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{key} = {value}: {hint}")]
pub struct RecipeError {
    /// The key.
    pub key: &'static str,
    /// Its value.
    pub value: String,
    /// The allowed values.
    pub hint: &'static str,
}

/// Number of U-Net passes in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passes {
    /// With gradients.
    pub trainable: usize,
    /// Of the frozen model.
    pub frozen: usize,
}

impl Passes {
    fn of(objective: &Objective) -> Self {
        Self {
            trainable: objective.rows(Network::Trained).len(),
            frozen: objective.rows(Network::Frozen).len(),
        }
    }
}

impl Recipe {
    /// Checks that every key is in its range.
    ///
    /// # Errors
    /// [`RecipeError`] with the first key that is not, and its allowed values.
    pub fn check(&self) -> Result<(), RecipeError> {
        // Far beyond any use; products of such numbers stay finite.
        let positive = |value: f64| value > 0.0 && value <= 1e9;
        let weight = |value: f64| (0.0..=1e9).contains(&value);
        let error = |key, value: f64, hint| {
            Err(RecipeError {
                key,
                value: value.to_string(),
                hint,
            })
        };
        for (key, value) in [
            ("l_sim_weight", self.l_sim_weight),
            ("l_pref_weight", self.l_pref_weight),
            ("prior_weight", self.prior_weight),
            ("preservation_weight", self.preservation_weight),
            ("consistency_weight", self.consistency_weight),
            ("weak_denoising_weight", self.weak_denoising_weight),
            ("contrastive_weight", self.contrastive_weight),
        ] {
            if !weight(value) {
                return error(key, value, "a weight is 0 or more");
            }
        }
        let learn = [
            self.l_sim_weight,
            self.l_pref_weight,
            self.consistency_weight,
        ];
        if learn == [0.0; 3] {
            return error(
                "l_sim_weight",
                0.0,
                "with l_pref_weight and consistency_weight = 0 as well no loss sees the references; set one of the three",
            );
        }
        if !positive(self.beta) {
            return error("beta", self.beta, "beta is more than 0 (the paper: 1)");
        }
        if !positive(self.tau) {
            return error(
                "tau",
                self.tau,
                "tau is more than 0 (the paper: 1; less makes labels surer)",
            );
        }
        if !(0.0..=1.0).contains(&self.lambda_train) {
            return error(
                "lambda_train",
                self.lambda_train,
                "0 to 1: 0 weighs only the text, 1 only the image",
            );
        }
        if let Some(norm) = self.clip_grad_norm.filter(|&norm| !positive(norm)) {
            return error(
                "clip_grad_norm",
                norm,
                "more than 0, or \"none\" to clip nothing",
            );
        }
        if let Some(gamma) = self.min_snr_gamma.filter(|&gamma| !positive(gamma)) {
            return error(
                "min_snr_gamma",
                gamma,
                "more than 0 (5 is usual), or \"none\" for no weights",
            );
        }
        if let Some(scale) = self
            .reward_guidance
            .filter(|&scale| !(scale > 0.0 && scale <= 100.0))
        {
            return error(
                "reward_guidance",
                scale,
                "more than 0 and at most 100 (DCO's paper: 3), or \"none\" for guidance of the trained network alone",
            );
        }
        if self.l_pref_weight > 0.0 && self.negatives_per_prompt == 0 {
            return error(
                "negatives_per_prompt",
                0.0,
                "at least 1 where l_pref_weight is not 0 (the paper: 4)",
            );
        }
        for (key, count) in [
            ("negatives_per_prompt", self.negatives_per_prompt),
            ("class_pictures", self.class_pictures),
        ] {
            if count > 100_000 {
                return error(key, count as f64, "at most 100000 pictures");
            }
        }
        for (key, prompt, valid) in [
            (
                "instance_prompt",
                &self.instance_prompt.0,
                self.instance_prompt.is_valid(),
            ),
            (
                "class_prompt",
                &self.class_prompt.0,
                self.class_prompt.is_valid(),
            ),
        ] {
            if !valid {
                return Err(RecipeError {
                    key,
                    value: format!("{prompt:?}"),
                    hint: "one {} and no other braces, as in \"a photo of {}\"",
                });
            }
        }
        if self.prior_weight > 0.0 && self.class_pictures == 0 {
            return error(
                "class_pictures",
                0.0,
                "at least 1 where prior_weight is not 0",
            );
        }
        self.check_rounds()?;
        self.check_masks()
    }

    /// The objective of a step (Eq. 9): `sim`, `pref`, `prior`, `preservation`, `consistency`, `weak_denoising`, `contrastive`, each if
    /// its weight is not 0. With rounds `pref` is theirs, [`Recipe::round_objective`], and this is that of the other steps.
    #[must_use]
    pub fn objective(&self) -> Objective {
        let reference = match self.reference_prompt {
            ReferencePrompt::C => Rows::Reference,
            ReferencePrompt::CMod => Rows::ReferenceMod,
        };
        let mean = |name, rows| terms::Mean { name, rows };
        let pref = terms::Preference {
            reference,
            beta: self.beta,
        };
        let pref_weight = match self.rounds {
            0 => self.l_pref_weight,
            _ => 0.0,
        };
        Objective::default()
            .with(mean("sim", Rows::Reference), self.l_sim_weight)
            .with(pref, pref_weight)
            .with(mean("prior", Rows::Class), self.prior_weight)
            .with(terms::Preservation, self.preservation_weight)
            .with(
                terms::Consistency { beta: self.beta },
                self.consistency_weight,
            )
            .with(
                mean("weak_denoising", Rows::WithoutImage),
                self.weak_denoising_weight,
            )
            .with(terms::Contrastive, self.contrastive_weight)
    }

    /// Number of U-Net passes in one step of batch 1 outside of rounds, counting frozen passes as if nothing was cached.
    #[must_use]
    pub fn passes(&self) -> Passes {
        Passes::of(&self.objective())
    }

    /// Description of the recipe for tables and reports: the preset's name and the keys that differ from it,
    /// `paper, norm = "mean", beta = 50.0`.
    #[must_use]
    pub fn describe(&self, preset: Preset) -> String {
        let (own, other) = (keys(self), keys(&preset.recipe()));
        let mut words = preset.name().to_owned();
        for (key, value) in own
            .iter()
            .filter(|(key, value)| other.get(*key) != Some(*value))
        {
            words.push_str(&format!(", {key} = {value}"));
        }
        // What has its usual value is not written.
        for key in other.keys().filter(|key| !own.contains_key(*key)) {
            words.push_str(&match key.as_str() {
                "instance_prompt" => format!(", {key} = {:?}", self.instance_prompt.0),
                "class_prompt" => format!(", {key} = {:?}", self.class_prompt.0),
                _ => format!(", no {key}"),
            });
        }
        words
    }
}

fn keys(recipe: &Recipe) -> serde_json::Map<String, serde_json::Value> {
    match serde_json::to_value(recipe) {
        Ok(serde_json::Value::Object(keys)) => keys,
        // A struct of numbers and unit variants always becomes an object.
        other => unreachable!("a recipe serialised to {other:?}"),
    }
}
