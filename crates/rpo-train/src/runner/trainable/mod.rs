//! What a method trains and keeps: the [`Trainable`] of an arm.
//!
//! To add one: a module beside `whole` and `adapters`, its name in `rpo-experiment/src/parts.rs`, and a line in [`of`].

mod adapters;
mod contract;
mod cross_attention;
mod whole;

use rpo_experiment::{TrainedPart, TrainingArm};

pub use adapters::{CARD, PREVIEW, kohya_file, load_lora};
pub use contract::{Base, Trainable, Trained, Unit};

/// The training method of an arm.
pub fn of(arm: &TrainingArm) -> Box<dyn Trainable> {
    match (&arm.lora, arm.part()) {
        (Some(keys), _) => Box::new(adapters::Adapted::new(keys)),
        (None, TrainedPart::CrossAttention) => Box::new(cross_attention::KeysValues),
        (None, _) => Box::new(whole::WholeUnet),
    }
}
