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
    use TrainedPart::{CrossAttention, ImageAdapter, Lora as Adapters, Token as Word};
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
        Preset::Disenbooth => Method {
            train: parts(&[Adapters, ImageAdapter]),
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

#[cfg(test)]
mod tests {
    use crate::{LoraInit, TrainedPart, TrainingArm, read};
    use std::path::Path;

    fn arms(sets: &[&str]) -> Vec<TrainingArm> {
        let sets: Vec<String> = sets.iter().map(|s| (*s).to_owned()).collect();
        let (experiment, layers) = read(Path::new("quickstart"), &[], &sets).unwrap();
        experiment.training_arms(&layers).unwrap()
    }

    #[test]
    fn a_preset_says_what_is_trained_unless_the_file_does() {
        use TrainedPart::{CrossAttention, ImageAdapter, Lora, Token, Unet};
        for (preset, parts) in [
            ("ours", &[Unet][..]),
            ("dreambooth", &[Unet]),
            ("dreambooth_dpo", &[Unet]),
            ("dpo", &[Unet]),
            ("textual_inversion", &[Token]),
            ("custom_diffusion", &[CrossAttention, Token]),
            ("lora_dreambooth", &[Lora]),
            ("rpo_lora", &[Lora]),
            ("disenbooth", &[Lora, ImageAdapter]),
            ("dco", &[Lora, Token]),
            ("pivotal", &[Lora, Token]),
        ] {
            let arm = &arms(&[&format!("recipe.preset={preset}")])[0];
            assert_eq!(arm.parts(), parts, "{preset}");
            let preset = format!("recipe.preset={preset}");
            let own = [
                preset.as_str(),
                "train.parts=[\"unet\"]",
                "recipe.weak_denoising_weight=0",
                "recipe.contrastive_weight=0",
            ];
            assert_eq!(arms(&own)[0].parts(), [Unet], "{preset}");
        }
        let dco = &arms(&["recipe.preset=dco"])[0];
        let lora = dco.lora.as_ref().unwrap();
        assert_eq!(
            (lora.rank, lora.alpha, lora.init),
            (32, 32.0, LoraInit::Gaussian)
        );
        assert!(dco.token.as_ref().unwrap().keep_norm);
        assert_eq!((dco.rate(Token, 1), dco.rate(Lora, 1)), (0.1, 1.0));
        // A table [lora] of the file takes the place of the preset's, keys of [token] replace single ones.
        let own = &arms(&["recipe.preset=dco", "lora.rank=2", "token.vectors=3"])[0];
        assert_eq!(own.lora.as_ref().unwrap().rank, 2);
        let token = own.token.as_ref().unwrap();
        assert_eq!((token.vectors, token.keep_norm), (3, true));
        let own = &arms(&["recipe.preset=dco", "token.keep_norm=false"])[0];
        assert!(!own.token.as_ref().unwrap().keep_norm);
    }

    #[test]
    fn rates_and_phases_of_the_file_replace_single_ones_of_the_preset() {
        use TrainedPart::{Lora, Token, Unet};
        let dco = &arms(&["recipe.preset=dco", "lora.rank=2", "train.rates.lora=0.5"])[0];
        assert_eq!(dco.parts(), [Lora, Token]);
        assert_eq!((dco.rate(Token, 1), dco.rate(Lora, 1)), (0.1, 0.5));
        let pivotal = &arms(&["recipe.preset=pivotal", "train.rates.token=0.25"])[0];
        assert_eq!(pivotal.parts(), [Lora, Token]);
        assert_eq!(pivotal.rate(Token, 1), 0.25);
        assert_eq!(pivotal.rate(Lora, 1), 0.0, "its phase begins later");
        let own = ["recipe.preset=pivotal", "train.parts=[\"token\", \"lora\"]"];
        assert_eq!(arms(&own)[0].rate(Lora, 1), 1.0, "other parts, no phases");
        let ours = &arms(&["recipe.preset=ours", "train.rates.unet=0.5"])[0];
        assert_eq!((ours.parts(), ours.rate(Unet, 1)), (vec![Unet], 0.5));
    }

    #[test]
    fn phases_are_shares_of_the_steps() {
        use TrainedPart::{Lora, Token};
        for steps in [1_usize, 2, 3, 7, 10, 1000] {
            let arm = &arms(&["recipe.preset=pivotal", &format!("training.steps={steps}")])[0];
            let trained = |part| -> Vec<usize> {
                (1..=steps)
                    .filter(|step| arm.rate(part, *step) > 0.0)
                    .collect()
            };
            let (word, adapters) = (trained(Token), trained(Lora));
            assert_eq!(
                word.len() + adapters.len(),
                steps,
                "each step trains one of them"
            );
            assert_eq!(word.len(), steps.div_ceil(2));
            assert_eq!((word[0], arm.first_step(Token)), (1, 1));
            if let Some(first) = adapters.first() {
                assert_eq!(*first, arm.first_step(Lora));
            }
        }
    }
}
