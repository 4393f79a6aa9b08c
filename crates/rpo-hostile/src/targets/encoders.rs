//! Folders of encoders with their weights, and what pictures become.

use super::made::{file, finite, folder, named};
use crate::case::Case;
use crate::target::{Target, ensure_fault};
use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use image::RgbImage;
use rpo_encoders::dual::DualTowers;
use rpo_encoders::image_processor::ImageProcessor;
use rpo_encoders::tokenizer::TokenBatch;
use rpo_encoders::vit::VitModel;
use rpo_nn::Place;
use std::path::Path;

/// A small encoder of the tree.
fn tiny(name: &str) -> Result<Vec<Case>> {
    Ok(vec![folder(&format!(
        "crates/rpo-encoders/tests/golden/{name}"
    ))?])
}

fn towers(folder: &Path) -> Result<()> {
    let towers = DualTowers::load(folder, &Place::default())?;
    let tokens = TokenBatch {
        ids: vec![vec![1, 2, 1]],
        mask: vec![vec![1, 1, 1]],
    };
    // Ids that a small vocabulary lacks are refused. Embeddings that overflow are found where they are divided by their lengths.
    let _ = towers.text_features(&tokens);
    Ok(())
}

pub(super) const CLIP: Target = Target::new(
    "clip",
    "a CLIP folder, and a text's embedding",
    || tiny("tiny_clip"),
    towers,
);

pub(super) const ALIGN: Target = Target::new(
    "align",
    "an ALIGN folder, and a text's embedding",
    || tiny("tiny_align"),
    towers,
);

pub(super) const VIT: Target = Target::new(
    "vit",
    "a ViT folder, and a picture's embedding",
    || tiny("tiny_vit"),
    |folder| {
        let model = VitModel::load(folder, &Place::default())?;
        let pixels = Tensor::zeros((1, 16, 16, 3), DType::F32, &Device::Cpu)?;
        // Pictures of another size are refused.
        let _ = model.class_token(&pixels);
        Ok(())
    },
);

pub(super) const PROCESSOR: Target = Target {
    // The largest side is 8192: 8-bit pixels and their f32.
    memory: 2 << 30,
    ..Target::new(
        "processor",
        "preprocessor_config.json, and a picture made ready by it",
        || {
            let mut all = Vec::new();
            for part in ["eval_clip", "eval_dino", "reward"] {
                all.push(file(&format!(
                    "assets/micro/{part}/preprocessor_config.json"
                ))?);
            }
            let old = br#"{"feature_extractor_type": "CLIPFeatureExtractor", "size": 24, "crop_size": 20, "do_center_crop": true,
            "do_normalize": true, "do_resize": true, "image_mean": [0.48, 0.45, 0.4], "image_std": [0.26, 0.26, 0.27], "resample": 3}"#;
            let new = br#"{"image_processor_type": "EfficientNetImageProcessor", "size": {"height": 20, "width": 24}, "include_top": true,
            "crop_size": {"height": 16, "width": 16}, "rescale_offset": true, "rescale_factor": 0.00784, "do_center_crop": true}"#;
            Ok(named(
                "preprocessor_config.json",
                all.into_iter().chain([old.to_vec(), new.to_vec()]),
            ))
        },
        |folder| {
            let processor = ImageProcessor::load(folder)?;
            let picture =
                RgbImage::from_fn(37, 23, |x, y| image::Rgb([x as u8, y as u8, (x * y) as u8]));
            let pixels = processor.preprocess(&[picture]);
            let pixels = pixels.map_err(|e| e.context(folder.display().to_string()))?;
            ensure_fault(finite(&pixels)?, || "a pixel is not finite".into())
        },
    )
};
