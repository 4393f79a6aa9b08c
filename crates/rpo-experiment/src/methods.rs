//! What a published method trains, where the file does not say otherwise: a preset's `[train]`, `[lora]` and `[token]`.

use crate::lora::{Lora, LoraInit};
use crate::parts::{Train, TrainedPart};
use crate::texts::Token;
use rpo_pref::recipe::Preset;

/// The tables that a preset stands for beside its recipe.
#[derive(Default)]
pub(super) struct Method {
    pub(super) train: Train,
    pub(super) lora: Lora,
    pub(super) token: Token,
}

/// As the method's own example for Stable Diffusion has them. Presets of whole U-Nets have none.
pub(super) fn of(preset: Preset) -> Method {
    use TrainedPart::{CrossAttention, Lora as Adapters, Token as Word};
    let parts = |parts: &[TrainedPart]| Train {
        parts: parts.to_vec(),
        ..Train::default()
    };
    let gaussian = |rank| Lora {
        rank,
        init: LoraInit::Gaussian,
        ..Lora::default()
    };
    match preset {
        Preset::TextualInversion => Method {
            train: parts(&[Word]),
            ..Method::default()
        },
        Preset::CustomDiffusion => Method {
            train: parts(&[CrossAttention, Word]),
            ..Method::default()
        },
        Preset::LoraDreambooth => Method {
            train: parts(&[Adapters]),
            lora: gaussian(4),
            ..Method::default()
        },
        Preset::RpoLora => Method {
            train: parts(&[Adapters]),
            lora: gaussian(32),
            ..Method::default()
        },
        Preset::Pivotal => Method {
            train: Train {
                phases: [(Word, [0.0, 0.5]), (Adapters, [0.5, 1.0])].into(),
                ..parts(&[Adapters, Word])
            },
            lora: gaussian(4),
            ..Method::default()
        },
        Preset::Dco => Method {
            train: Train {
                rates: [(Word, 0.1)].into(),
                ..parts(&[Adapters, Word])
            },
            lora: gaussian(32),
            token: Token {
                keep_norm: true,
                ..Token::default()
            },
        },
        _ => Method::default(),
    }
}
