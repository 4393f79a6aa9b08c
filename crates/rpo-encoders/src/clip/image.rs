//! CLIP's vision tower with its projection and preprocessing: pictures to projected embeddings.

use std::path::Path;

use candle_core::{Result, Tensor, bail};
use image::RgbImage;
use rpo_nn::{Place, all_finite};

use super::{ClipImageConfig, ClipVisionModel};
use crate::embeddings::BATCH;
use crate::folder;
use crate::image_processor::ImageProcessor;
use crate::projection::Projection;

const HINT: &str = "the weights of this encoder are damaged: copy its folder again";

/// transformers' `CLIPVisionModelWithProjection`, or the same half of a `CLIPModel`, with the folder's image processor.
#[derive(Debug)]
pub struct ClipImageEncoder {
    tower: ClipVisionModel,
    projection: Projection,
    processor: ImageProcessor,
}

impl ClipImageEncoder {
    /// Reads `config.json`, the weights and `preprocessor_config.json` of the folder `dir`; the tower computes at `place`, in f32.
    ///
    /// # Errors
    /// If a file is missing or malformed, or of another model; those of the device.
    pub fn load(dir: &Path, place: &Place) -> Result<Self> {
        let place = &place.in_f32();
        let ClipImageConfig {
            vision,
            projection_dim,
        } = ClipImageConfig::load(dir)?;
        let params = folder::open_params(dir, false)?;
        let scope = params.root();
        let encoder = Self {
            tower: ClipVisionModel::new(&vision, &scope, place)?,
            projection: Projection::new(
                &scope.sub("visual_projection"),
                vision.hidden_size,
                projection_dim,
                false,
                place,
            )?,
            processor: ImageProcessor::load(dir)?,
        };
        // The other half of a whole CLIP.
        folder::all_read(dir, &params, |name| {
            let text = name.starts_with("text_model.") || name.starts_with("text_projection.");
            text || name == "logit_scale" || name.ends_with("position_ids")
        })?;
        Ok(encoder)
    }

    /// transformers' `image_embeds` of the pictures, `[B, P]`, not divided by their lengths, on the CPU.
    ///
    /// # Errors
    /// If there is no picture, one has no pixels, or an embedding is not finite.
    pub fn embeddings(&self, pictures: &[RgbImage]) -> Result<Tensor> {
        let mut all = Vec::new();
        for batch in pictures.chunks(BATCH) {
            let pixels = self.processor.preprocess(batch)?;
            let rows = self.projection.forward(&self.tower.pooled(&pixels)?)?;
            let what = || "the embedding of a picture".to_owned();
            all.push(all_finite(rows, what, HINT)?);
        }
        if all.is_empty() {
            bail!("no picture to embed");
        }
        Tensor::cat(&all, 0)
    }
}
