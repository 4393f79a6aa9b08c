//! What a method trains and keeps: the [`Trainable`] of an arm.
//!
//! To add one: a module beside `whole` and `adapters`, its keys in `rpo-experiment/src/arms.rs`, and a line in [`of`].

mod adapters;
mod contract;
mod whole;

use rpo_experiment::TrainingArm;

pub use adapters::{CARD, PREVIEW, kohya_file, load_lora};
pub use contract::{Base, Trainable, Trained, Unit};

/// The training method of an arm.
pub fn of(arm: &TrainingArm) -> Box<dyn Trainable> {
    match &arm.lora {
        Some(keys) => Box::new(adapters::Adapted::new(keys)),
        None => Box::new(whole::WholeUnet),
    }
}
