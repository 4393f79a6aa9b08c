//! Tensors of a single file that no part reads.

/// Beginnings of known tensors that are not weights of a part: moving averages of the U-Net from training, tables of the noise
/// schedule, states of training loops, the VAE's training loss, the other half of CLIP, embeddings of forks of DreamBooth.
const BEGIN: [&str; 24] = [
    "model_ema.",
    "first_stage_model.loss.",
    "embedding_manager.",
    "cond_stage_model.model.visual.",
    "cond_stage_model.transformer.vision_model.",
    "conditioner.embedders.0.transformer.vision_model.",
    "conditioner.embedders.1.model.visual.",
    "betas",
    "alphas_cumprod",
    "sqrt_",
    "log_one_minus_alphas_cumprod",
    "posterior_",
    "lvlb_weights",
    "logvar",
    "scale_factor",
    "denoiser.",
    "optimizer",
    "lr_scheduler",
    "callbacks.",
    "loops.",
    "loss.",
    "epoch",
    "global_step",
    "iteration",
];

/// Whole names: marks, and entries of training loops.
const WHOLE: [&str; 5] = [super::V_PRED, super::ZERO_SNR, "loss", "callbacks", "step"];

/// Ends of tensors that follow from the configuration or that Stable Diffusion does not read.
const END: [&str; 4] = [
    ".position_ids",
    ".logit_scale",
    ".attn_mask",
    ".visual_projection.weight",
];

/// Projections of the first text encoder's pooled output, which Stable Diffusion does not read.
const PROJECTIONS: [&str; 4] = [
    "cond_stage_model.transformer.text_projection.weight",
    "cond_stage_model.model.text_projection",
    "cond_stage_model.model.text_projection.weight",
    "conditioner.embedders.0.transformer.text_projection.weight",
];

/// Whether a tensor, by its name in the original's spelling, is known not to be needed.
pub(super) fn is_unread(name: &str) -> bool {
    BEGIN.iter().any(|b| name.starts_with(b))
        || END.iter().any(|e| name.ends_with(e))
        || WHOLE.contains(&name)
        || PROJECTIONS.contains(&name)
}
