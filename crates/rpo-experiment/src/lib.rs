//! Experiment files: what the user wrote ([`read`]), what it resolves to ([`Experiment`]) and whether it can be run.

mod arms;
mod bounds;
pub mod built_in;
mod candidates;
mod check;
mod check_subjects;
mod defaults;
pub mod device;
mod fields;
mod image_adapter;
mod layer;
mod lora;
mod meaning;
mod methods;
mod names;
mod own;
mod parts;
pub mod paths;
pub mod plan;
mod preset_layer;
pub mod presets;
mod ranges;
mod rate;
mod report;
mod rules;
pub mod run;
mod savings;
mod solver;
mod source;
mod texts;
pub mod words;

pub use arms::{Adapters, TrainingArm};
pub use candidates::Candidates;
pub use fields::{
    Arm, Encoders, Experiment, Model, RewardText, Rules, Sampler, SubjectSource, Subjects, Test,
    Training, Validation,
};
pub use image_adapter::ImageAdapter;
pub use layer::{Layers, Source};
pub use lora::{Lora, LoraInit};
pub use own::{OwnSubject, Part, Prompts};
pub use parts::{Train, TrainedPart};
pub use rate::LrScheduler;
pub use report::{Published, Report};
pub use rpo_files::nearest;
pub use solver::Solver;
pub use source::read;
pub use texts::{TextEncoder, Token};

/// The JSON schema of an experiment file, as committed in `experiments/schema.json`.
pub fn schema() -> serde_json::Value {
    serde_json::to_value(schemars::schema_for!(Experiment)).expect("a schema is plain JSON")
}
