//! The recipe of every preset, as published, and ours.

use super::{
    Augment, ClassPrompt, Crop, InstancePrompt, Latent, Recipe, ReferencePrompt, Share, Sharing,
    TokenInReward, ValidationNoise, ValidationPrompts,
};
use crate::labels::LabelKind;
use crate::loss::Norm;
use crate::pairs::{LabelReward, Pairs};
use crate::preferred::Angle;

impl Recipe {
    /// The paper as written. Squared norms are sums, as printed. Steps, learning rate and the validation interval depend on the
    /// model and are not part of a recipe; the paper runs all steps (no patience).
    #[must_use]
    pub fn paper() -> Self {
        Self {
            norm: Norm::Sum,
            reference_prompt: ReferencePrompt::CMod,
            pair_timestep: Sharing::Shared,
            pair_noise: Sharing::Independent,
            pairs: Pairs::Uniform,
            label_reward: LabelReward::Pair,
            negatives_per_prompt: 4,
            negative_prompts: 0,
            clip_grad_norm: Some(1.0),
            token_in_reward: TokenInReward::Remove,
            crop: Crop::Centre,
            latent: Latent::Mean,
            validation_noise: ValidationNoise::Fixed,
            validation_prompts: ValidationPrompts::Training,
            beta: 1.0,
            tau: 1.0,
            label: LabelKind::Sampled,
            lambda_train: 0.0,
            l_sim_weight: 1.0,
            l_pref_weight: 1.0,
            prior_weight: 0.0,
            class_pictures: 0,
            preservation_weight: 0.0,
            consistency_weight: 0.0,
            weak_denoising_weight: 0.0,
            contrastive_weight: 0.0,
            min_snr_gamma: None,
            flip: false,
            masked: false,
            augment: Augment::None,
            detach_first_token: false,
            instance_prompt: InstancePrompt::default(),
            class_prompt: ClassPrompt::default(),
            reward_guidance: None,
            rounds: 0,
            rounds_from: Share::default(),
            angle: Angle::default(),
        }
    }

    /// What the published `train.py` does on one GPU, including its errors. It runs all steps (no patience).
    #[must_use]
    pub fn official() -> Self {
        Self {
            norm: Norm::Mean,
            reference_prompt: ReferencePrompt::C,
            pair_timestep: Sharing::Independent,
            pair_noise: Sharing::Independent,
            pairs: Pairs::Official,
            label_reward: LabelReward::FirstOfPrompt,
            negatives_per_prompt: 16,
            clip_grad_norm: None,
            token_in_reward: TokenInReward::Keep,
            crop: Crop::Random,
            latent: Latent::Sample,
            validation_noise: ValidationNoise::Fresh,
            ..Self::paper()
        }
    }

    /// What the published `train_sdxl.py` does on one GPU: timestep and noise of a pair shared, each pair's own reward, four
    /// negatives per prompt, effective clipping. The script has no reward validation; here held-out prompts with fixed noise
    /// choose its checkpoint, as in [`Recipe::ours`]. Its LoRA is not part of a recipe.
    #[must_use]
    pub fn official_sdxl() -> Self {
        Self {
            pair_timestep: Sharing::Shared,
            pair_noise: Sharing::Shared,
            label_reward: LabelReward::Pair,
            negatives_per_prompt: 4,
            negative_prompts: 0,
            clip_grad_norm: Some(1.0),
            validation_noise: ValidationNoise::Fixed,
            validation_prompts: ValidationPrompts::Validation,
            ..Self::official()
        }
    }

    /// DreamBooth: L_sim with prior preservation of weight 1 and no preference loss. Squared errors are means, as in
    /// its diffusers example; everything else is [`Recipe::paper`]'s, so that the arms differ in their losses.
    #[must_use]
    pub fn dreambooth() -> Self {
        Self {
            norm: Norm::Mean,
            l_pref_weight: 0.0,
            prior_weight: 1.0,
            class_pictures: 200,
            ..Self::paper()
        }
    }

    /// DreamBoothDPO: [`Recipe::dreambooth`] for half of the steps, then two rounds of Diffusion-DPO on pairs of the model's own
    /// pictures, of one timestep and noise, against the model that drew them. Of the source are the rounds, the pairs of winners in both
    /// scores and the window of 20 to 70 degrees; its β is not published, this is that of Diffusion-DPO's code (5000, which it halves).
    #[must_use]
    pub fn dreambooth_dpo() -> Self {
        Self {
            rounds: 2,
            l_pref_weight: 1.0,
            beta: 2500.0,
            pair_noise: Sharing::Shared,
            ..Self::dreambooth()
        }
    }

    /// Diffusion-DPO without L_sim, as the paper compares it: preferences alone, with λ_train = 0.5. Everything else is
    /// [`Recipe::paper`]'s, with errors as means; Diffusion-DPO's own β is in the thousands.
    #[must_use]
    pub fn dpo() -> Self {
        Self {
            norm: Norm::Mean,
            l_sim_weight: 0.0,
            lambda_train: 0.5,
            ..Self::paper()
        }
    }

    /// DCO, direct consistency optimisation (Lee et al. 2024): the consistency loss alone, with β = 1000 and clipping at 1 as in its
    /// code; no pictures are drawn to train on. Pictures are drawn with reward guidance, w_r = 3 as in its paper.
    #[must_use]
    pub fn dco() -> Self {
        Self {
            norm: Norm::Mean,
            l_sim_weight: 0.0,
            l_pref_weight: 0.0,
            consistency_weight: 1.0,
            beta: 1000.0,
            reward_guidance: Some(3.0),
            ..Self::paper()
        }
    }

    /// Textual inversion (Gal et al. 2022): L_sim alone, of mirrored references and sampled latents, without clipping, as in its
    /// diffusers example. That draws one of 27 prompts a step; here a reference has one, its caption or `instance_prompt`. A new word
    /// is trained, which is not part of a recipe.
    #[must_use]
    pub fn textual_inversion() -> Self {
        Self {
            norm: Norm::Mean,
            l_pref_weight: 0.0,
            latent: Latent::Sample,
            flip: true,
            clip_grad_norm: None,
            ..Self::paper()
        }
    }

    /// Custom Diffusion (Kumari et al. 2023): L_sim on references shown smaller and larger, and prior preservation of weight 1 on 200
    /// pictures of the class, mirrored references, sampled latents, clipping at 1, as in its diffusers example, which divides the
    /// masked error by the mask alone: 4 times a mean over the latents' channels. Keys and values of the first token carry no gradient.
    /// A new word and the keys and values of the text are trained, which is not part of a recipe.
    #[must_use]
    pub fn custom_diffusion() -> Self {
        Self {
            clip_grad_norm: Some(1.0),
            l_sim_weight: 4.0,
            prior_weight: 1.0,
            class_pictures: 200,
            augment: Augment::CustomDiffusion,
            detach_first_token: true,
            // The augmentation's words go before it: "a far away photo of a [V] dog".
            instance_prompt: InstancePrompt("photo of a {}".to_owned()),
            class_prompt: ClassPrompt("{}".to_owned()),
            ..Self::textual_inversion()
        }
    }

    /// DreamBooth with adapters, as its diffusers example: L_sim alone, sampled latents, clipping at 1, no prior preservation unless
    /// asked for.
    #[must_use]
    pub fn lora_dreambooth() -> Self {
        Self {
            norm: Norm::Mean,
            l_pref_weight: 0.0,
            latent: Latent::Sample,
            ..Self::paper()
        }
    }

    /// DisenBooth (Chen et al. 2023): L_sim under the text and what an image adapter makes of the reference, 0.01 times the same under
    /// the text alone, and 0.001 times the cosine of the two; sampled latents, clipping at 1. Adapters and the image adapter are
    /// trained, which is not part of a recipe.
    #[must_use]
    pub fn disenbooth() -> Self {
        Self {
            weak_denoising_weight: 0.01,
            contrastive_weight: 0.001,
            ..Self::lora_dreambooth()
        }
    }

    /// Pivotal tuning, as kohya's and diffusers' advanced examples do it: L_sim alone; a new word first, then adapters with it, which
    /// is not part of a recipe.
    #[must_use]
    pub fn pivotal() -> Self {
        Self::lora_dreambooth()
    }

    /// RPO with adapters, as the published `train_sdxl.py`, and [`Recipe::ours`] otherwise.
    #[must_use]
    pub fn rpo_lora() -> Self {
        Self::ours()
    }

    /// The paper with improvements that cost nothing: errors as means, so that L_sim and L_pref do not depend on the picture's
    /// size; one pass for both losses; expected labels instead of near coin flips; held-out validation prompts.
    ///
    /// τ stays 1. On the embedded model τ = 0.05 with β from 1 to 50 lost text alignment within 200 steps (one or two subjects
    /// each, one seed: an observation without an established cause). The best β and τ are not known.
    #[must_use]
    pub fn ours() -> Self {
        Self {
            norm: Norm::Mean,
            reference_prompt: ReferencePrompt::C,
            label: LabelKind::Expected,
            validation_prompts: ValidationPrompts::Validation,
            ..Self::paper()
        }
    }
}
