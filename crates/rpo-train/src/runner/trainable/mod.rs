//! What a method trains and keeps: the [`Trainable`] of an arm.
//!
//! To add one of the U-Net: a module beside `whole` and `adapters`, its name in `rpo-experiment/src/parts.rs`, and a line in [`of`].
//! Parts of the text encoders go with any of them: `reading`, joined in `joint`. `image_adapter` is trained beside one.

mod adapters;
mod contract;
mod cross_attention;
mod image_adapter;
mod joint;
mod reading;
mod text_encoder;
mod whole;

use rpo_experiment::{TrainedPart, TrainingArm};

pub use adapters::{CARD, PREVIEW, kohya_file, load_lora};
pub use contract::{Base, Shapes, Trainable, Trained, Unit};

/// The training method of an arm.
pub fn of(arm: &TrainingArm) -> Box<dyn Trainable> {
    let unet = arm.unet_part().map(|part| unet(arm, part));
    let unet = unet.map(|unet| -> Box<dyn Trainable> {
        match arm.image_adapter {
            Some(_) => Box::new(image_adapter::BesideImageAdapter { unet }),
            None => unet,
        }
    });
    match (unet, &arm.token, &arm.text_encoder) {
        (Some(unet), None, None) => unet,
        (unet, token, text_encoder) => {
            let beside_lora = arm.lora.is_some();
            let reading = reading::Reading::new(token.clone(), text_encoder.clone(), beside_lora);
            Box::new(joint::Joint { unet, reading })
        }
    }
}

fn unet(arm: &TrainingArm, part: TrainedPart) -> Box<dyn Trainable> {
    match (&arm.lora, part) {
        (Some(keys), _) => Box::new(adapters::Adapted::new(keys)),
        (None, TrainedPart::CrossAttention) => Box::new(cross_attention::KeysValues),
        (None, _) => Box::new(whole::WholeUnet),
    }
}
