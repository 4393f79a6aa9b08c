//! The default of every key.

use crate::candidates::Candidates;
use crate::fields::{
    Encoders, Experiment, Model, RewardText, Rules, Sampler, SubjectSource, Subjects, Test,
    Training, Validation,
};
use crate::lora::{Lora, LoraInit};
use crate::own::Prompts;
use crate::parts::Train;
use crate::rate::LrScheduler;
use crate::report::Report;
use crate::solver::Solver;
use rpo_data::picture::Limit;
use rpo_reward::Mean;

/// The projections of attention.
const ATTENTION: [&str; 4] = ["to_q", "to_k", "to_v", "to_out.0"];

impl Default for Experiment {
    fn default() -> Self {
        Self {
            name: "experiment".into(),
            reproduces: String::new(),
            output: "runs".into(),
            seeds: vec![0],
            model: Model::default(),
            encoders: Encoders::default(),
            subjects: Subjects::default(),
            own_subjects: Vec::new(),
            prompts: Prompts::default(),
            sampler: Sampler::default(),
            training: Training::default(),
            lora: None,
            train: Train::default(),
            token: None,
            text_encoder: None,
            image_adapter: None,
            recipe: toml::Table::from_iter([("preset".into(), "ours".into())]),
            arms: Vec::new(),
            validation: Validation::default(),
            candidates: Candidates::default(),
            rules: Rules::default(),
            test: Test::default(),
            report: Report::default(),
        }
    }
}

impl Default for Model {
    fn default() -> Self {
        Self {
            preset: String::new(),
            path: "micro".into(),
            variant: String::new(),
            device: "auto".into(),
            dtype: "auto".into(),
            size: 0,
            memory_gb: 0.0,
        }
    }
}

impl Default for Encoders {
    fn default() -> Self {
        Self {
            reward: "micro/reward".into(),
            clip: "micro/eval_clip".into(),
            vit: "micro/eval_dino".into(),
            vit_name: "ViT-I".into(),
            label: "micro".into(),
            clip_text: RewardText::Remove,
            reward_text: RewardText::Remove,
        }
    }
}

impl Default for Subjects {
    fn default() -> Self {
        Self {
            source: SubjectSource::Stickerbench,
            count: 8,
            names: Vec::new(),
            seed: 0,
            captions: false,
            path: String::new(),
            class: String::new(),
            class_folder: String::new(),
            token: "[v]".into(),
            live: None,
            max_megapixels: Limit::MEGAPIXELS,
        }
    }
}

impl Default for Sampler {
    fn default() -> Self {
        Self {
            solver: Solver::DpmSolverPp2m,
            eta: 0.0,
            steps: 15,
            guidance: 3.0,
            guidance_interval: None,
            batch: 16,
        }
    }
}

impl Default for Training {
    fn default() -> Self {
        Self {
            steps: 300,
            learning_rate: 1e-4,
            lr_scheduler: LrScheduler::Constant,
            lr_warmup_steps: 0,
            lr_power: 1.0,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 1e-2,
            batch: 4,
            gradient_accumulation: 1,
            recompute: None,
            save_minutes: 5.0,
        }
    }
}

impl Default for Lora {
    fn default() -> Self {
        Self {
            rank: 32,
            alpha: None,
            targets: ATTENTION.map(str::to_owned).into(),
            dropout: 0.0,
            init: LoraInit::default(),
        }
    }
}

impl Default for Validation {
    fn default() -> Self {
        Self {
            every: 20,
            pictures_per_prompt: 2,
            prompts: 0,
            candidates: 0,
        }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            lambda: vec![0.3, 0.5, 0.7],
            mean: vec![Mean::Harmonic],
            patience: None,
            last: true,
        }
    }
}

impl Default for Test {
    fn default() -> Self {
        Self {
            pictures_per_prompt: 2,
            prompts: 0,
        }
    }
}

impl Default for Report {
    fn default() -> Self {
        Self {
            baseline: String::new(),
            margin: 0.002,
            published: Vec::new(),
        }
    }
}
