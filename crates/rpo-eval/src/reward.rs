//! The reward model: scores of pictures from references and prompts.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use image::RgbImage;
use ndarray::{Array1, Array2};
use rpo_encoders::dual::DualEncoder;
use rpo_nn::Place;

use crate::alignment::{align_i, align_i_leave_one_out, alignment};
use rpo_reward::Score;

/// Scores pictures by a two-tower encoder, ALIGN in the paper. The features of a prompt are computed once.
///
/// Prompts are read unchanged: whether they contain the subject's token is the caller's choice.
#[derive(Debug)]
pub struct Rewarder {
    encoder: DualEncoder,
    texts: Mutex<HashMap<String, Array1<f32>>>,
}

/// The embeddings of one subject's references.
#[derive(Clone, Debug)]
pub struct RefFeatures(Array2<f32>);

impl RefFeatures {
    /// Number of references.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.nrows()
    }
}

impl Rewarder {
    /// Reads the encoder of a folder, which computes at `place`.
    ///
    /// # Errors
    /// If the folder has no complete `AlignModel` or `CLIPModel`.
    pub fn load(dir: &Path, place: &Place) -> Result<Self> {
        Ok(Self::new(DualEncoder::load(dir, place).with_context(
            || format!("reward encoder in {}", dir.display()),
        )?))
    }

    /// Scores with this encoder.
    #[must_use]
    pub fn new(encoder: DualEncoder) -> Self {
        Self {
            encoder,
            texts: Mutex::new(HashMap::new()),
        }
    }

    /// The encoder.
    #[must_use]
    pub fn encoder(&self) -> &DualEncoder {
        &self.encoder
    }

    /// The embeddings of a subject's references.
    ///
    /// # Errors
    /// If there is no reference, or one cannot be embedded.
    pub fn references(&self, pictures: &[RgbImage]) -> Result<RefFeatures> {
        ensure!(
            !pictures.is_empty(),
            "a subject without references cannot be compared with: at least one is needed"
        );
        Ok(RefFeatures(self.encoder.embed_images(pictures)?))
    }

    /// The pair (ALIGN-I, ALIGN-T) of every picture with its own prompt: `prompts[i]` belongs to `pictures[i]`.
    ///
    /// # Errors
    /// If the numbers of prompts and pictures differ, or something cannot be embedded.
    pub fn score(
        &self,
        references: &RefFeatures,
        pictures: &[RgbImage],
        prompts: &[String],
    ) -> Result<Vec<Score>> {
        if pictures.len() != prompts.len() {
            bail!(
                "{} pictures and {} prompts: every picture is scored with its own prompt",
                pictures.len(),
                prompts.len()
            );
        }
        let texts = self.texts(prompts)?;
        let embedded = self.encoder.embed_images(pictures)?;
        let scores =
            embedded
                .outer_iter()
                .zip(&texts)
                .enumerate()
                .map(|(index, (picture, text))| {
                    Score::new(
                        align_i(picture, references.0.view()),
                        alignment(picture, text.view()),
                    )
                    .with_context(|| format!("picture {index}, prompt \"{}\"", prompts[index]))
                });
        scores.collect()
    }

    /// The pairs of scores of the references themselves with every prompt, `[prompt][reference]`, for the labels of Eq. 6.
    ///
    /// With `leave_one_out` a reference is compared with the others only; in the paper also with itself.
    ///
    /// # Errors
    /// For `leave_one_out` with a single reference; if a prompt cannot be embedded.
    pub fn score_references(
        &self,
        references: &RefFeatures,
        prompts: &[String],
        leave_one_out: bool,
    ) -> Result<Vec<Vec<Score>>> {
        let RefFeatures(rows) = references;
        if leave_one_out && rows.nrows() < 2 {
            bail!(
                "leave-one-out needs two references or more, this subject has {}: add one or turn it off",
                rows.nrows()
            );
        }
        let images: Vec<f64> = (0..rows.nrows())
            .map(|i| {
                if leave_one_out {
                    align_i_leave_one_out(i, rows.view())
                } else {
                    align_i(rows.row(i), rows.view())
                }
            })
            .collect();
        let with_prompt = |text: &Array1<f32>| -> Result<Vec<Score>> {
            let pairs = rows.outer_iter().zip(&images);
            pairs
                .map(|(row, &image)| Ok(Score::new(image, alignment(row, text.view()))?))
                .collect()
        };
        self.texts(prompts)?.iter().map(with_prompt).collect()
    }

    fn texts(&self, prompts: &[String]) -> Result<Vec<Array1<f32>>> {
        let mut known = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut missing: Vec<String> = prompts
            .iter()
            .filter(|prompt| !known.contains_key(*prompt))
            .cloned()
            .collect();
        missing.sort();
        missing.dedup();
        if !missing.is_empty() {
            let rows = self.encoder.embed_texts(&missing)?;
            known.extend(
                missing
                    .into_iter()
                    .zip(rows.outer_iter().map(|row| row.to_owned())),
            );
        }
        Ok(prompts.iter().map(|prompt| known[prompt].clone()).collect())
    }
}
