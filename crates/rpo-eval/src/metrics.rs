//! Metrics of pictures: similarity to the references, similarity to the prompt, diversity.
//!
//! All are plain cosines of unit embeddings, in `[-1, 1]`, one per picture. The caller chooses their names in tables
//! (`rpo_report::table::Metric`), which have to include the encoder.

use std::path::Path;

use crate::alignment::cosine;
use anyhow::{Context, Result, bail, ensure};
use image::RgbImage;
use ndarray::{Array2, ArrayView2};
use rpo_encoders::dual::DualEncoder;
use rpo_encoders::vit::VitEncoder;
use rpo_nn::Place;

/// The mean cosine of every picture to the references; both are rows of unit length.
/// NaN without references.
#[must_use]
pub fn image_similarity(
    pictures: ArrayView2<'_, f32>,
    references: ArrayView2<'_, f32>,
) -> Vec<f64> {
    let mean = |picture| {
        let sum: f64 = references
            .outer_iter()
            .map(|reference| cosine(picture, reference))
            .sum();
        sum / references.nrows() as f64
    };
    pictures.outer_iter().map(mean).collect()
}

/// The cosine of every picture with the text in the same row.
#[must_use]
pub fn text_similarity(pictures: ArrayView2<'_, f32>, texts: ArrayView2<'_, f32>) -> Vec<f64> {
    pictures
        .outer_iter()
        .zip(texts.outer_iter())
        .map(|(picture, text)| cosine(picture, text))
        .collect()
}

/// Diversity of the pictures of one prompt: the mean over all pairs of `1 - cos`, in `[0, 2]`.
/// `None` for fewer than two pictures.
#[must_use]
pub fn diversity(pictures: ArrayView2<'_, f32>) -> Option<f64> {
    let n = pictures.nrows();
    if n < 2 {
        return None;
    }
    let pairs = (0..n).flat_map(|i| (0..i).map(move |j| (i, j)));
    let sum: f64 = pairs
        .map(|(i, j)| 1.0 - cosine(pictures.row(i), pictures.row(j)))
        .sum();
    Some(sum / (n * (n - 1) / 2) as f64)
}

/// An image encoder as a judge of pictures: "ViT-I".
#[derive(Debug)]
pub struct ImageJudge(VitEncoder);

impl ImageJudge {
    /// Reads a `ViTModel` folder, whose encoder computes at `place`.
    ///
    /// # Errors
    /// If the folder has no complete one.
    pub fn load(dir: &Path, place: &Place) -> Result<Self> {
        Ok(Self(VitEncoder::load(dir, place).with_context(|| {
            format!("image judge in {}", dir.display())
        })?))
    }

    /// The embeddings of pictures, to compute several metrics of the same ones.
    ///
    /// # Errors
    /// A picture that cannot be embedded.
    pub fn embed(&self, pictures: &[RgbImage]) -> Result<Array2<f32>> {
        Ok(self.0.embed_images(pictures)?)
    }

    /// The mean cosine of every picture to the references.
    ///
    /// # Errors
    /// No reference, or a picture that cannot be embedded.
    pub fn similarity(&self, pictures: &[RgbImage], references: &[RgbImage]) -> Result<Vec<f64>> {
        some(references)?;
        Ok(image_similarity(
            self.embed(pictures)?.view(),
            self.embed(references)?.view(),
        ))
    }

    /// The encoder.
    #[must_use]
    pub fn encoder(&self) -> &VitEncoder {
        &self.0
    }

    /// Diversity of the pictures of one prompt; `None` for fewer than two.
    ///
    /// # Errors
    /// A picture that cannot be embedded.
    pub fn diversity(&self, pictures: &[RgbImage]) -> Result<Option<f64>> {
        Ok(diversity(self.embed(pictures)?.view()))
    }
}

/// A two-tower encoder as a judge of pictures and texts: "CLIP-I", "CLIP-T".
#[derive(Debug)]
pub struct TextJudge(DualEncoder);

impl TextJudge {
    /// Reads a `CLIPModel` (or `AlignModel`) folder, whose encoder computes at `place`.
    ///
    /// # Errors
    /// If the folder has no complete one.
    pub fn load(dir: &Path, place: &Place) -> Result<Self> {
        Ok(Self(DualEncoder::load(dir, place).with_context(|| {
            format!("text judge in {}", dir.display())
        })?))
    }

    /// The embeddings of pictures, to compute several metrics of the same ones.
    ///
    /// # Errors
    /// A picture that cannot be embedded.
    pub fn embed(&self, pictures: &[RgbImage]) -> Result<Array2<f32>> {
        Ok(self.0.embed_images(pictures)?)
    }

    /// The mean cosine of every picture to the references, and its cosine with its own text in each version of the texts:
    /// `readings[r][i]` belongs to `pictures[i]`. Texts are read unchanged; a table has to say whether they contain the subject's
    /// token. Pictures are embedded once.
    ///
    /// # Errors
    /// If there is no reference, the numbers of texts and pictures differ, or something cannot be embedded.
    pub fn scores(
        &self,
        pictures: &[RgbImage],
        references: &[RgbImage],
        readings: &[Vec<String>],
    ) -> Result<TextScores> {
        some(references)?;
        if let Some(texts) = readings.iter().find(|t| t.len() != pictures.len()) {
            bail!(
                "{} pictures and {} texts: every picture is compared with its own",
                pictures.len(),
                texts.len()
            );
        }
        let embedded = self.embed(pictures)?;
        Ok(TextScores {
            image: image_similarity(embedded.view(), self.embed(references)?.view()),
            texts: readings
                .iter()
                .map(|texts| {
                    let texts = self.0.embed_texts(texts)?;
                    Ok(text_similarity(embedded.view(), texts.view()))
                })
                .collect::<Result<_>>()?,
        })
    }

    /// The encoder.
    #[must_use]
    pub fn encoder(&self) -> &DualEncoder {
        &self.0
    }
}

/// Scores by a [`TextJudge`], one value per picture.
#[derive(Clone, Debug, PartialEq)]
pub struct TextScores {
    /// Mean cosine to the references: "CLIP-I".
    pub image: Vec<f64>,
    /// Cosine with its text, for every version of the texts: "CLIP-T".
    pub texts: Vec<Vec<f64>>,
}

fn some(references: &[RgbImage]) -> Result<()> {
    ensure!(
        !references.is_empty(),
        "without references there is nothing to be like: at least one is needed"
    );
    Ok(())
}
