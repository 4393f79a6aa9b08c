//! Scorers: they give pictures columns of scores.

use crate::metrics::{ImageJudge, TextJudge};
use anyhow::Result;
use image::RgbImage;
use rpo_data::stickerbench::sticker::Look;
use rpo_stats::Column;

/// Pictures of one subject, with what they are compared with.
#[derive(Clone, Copy, Debug)]
pub struct Scored<'a> {
    /// The pictures.
    pub pictures: &'a [RgbImage],
    /// The subject's references.
    pub references: &'a [RgbImage],
    /// The text of each picture.
    pub texts: &'a [String],
    /// The look of a rendered subject; photos have none.
    pub look: Option<&'a Look>,
}

/// Gives each picture one value in each of its columns.
pub trait Scorer: Send + Sync {
    /// The columns, in the order of [`Scorer::values`].
    fn columns(&self) -> Vec<Column>;

    /// For each column, one value per picture.
    ///
    /// # Errors
    /// If something cannot be scored.
    fn values(&self, scored: Scored<'_>) -> Result<Vec<Vec<f64>>>;
}

/// One column: the mean cosine to the references, by an image encoder.
#[derive(Debug)]
pub struct ImageColumn {
    /// The encoder.
    pub judge: ImageJudge,
    /// `ViT-I`, or `DINO` if it is DINO.
    pub name: String,
    /// Description of the encoder.
    pub computed_by: String,
}

impl Scorer for ImageColumn {
    fn columns(&self) -> Vec<Column> {
        vec![Column {
            name: self.name.clone(),
            computed_by: self.computed_by.clone(),
            explanation: "Mean cosine between a picture and the references, by the image judge."
                .into(),
            higher_is_better: Some(true),
        }]
    }

    fn values(&self, scored: Scored<'_>) -> Result<Vec<Vec<f64>>> {
        let values = self.judge.similarity(scored.pictures, scored.references)?;
        Ok(vec![values])
    }
}

/// Two columns, CLIP-I and CLIP-T: the mean cosine to the references and the cosine to the text.
#[derive(Debug)]
pub struct ClipColumns {
    /// The encoder.
    pub judge: TextJudge,
    /// Description of the encoder.
    pub computed_by: String,
    /// Description of its texts: `token removed`.
    pub reading: String,
}

impl Scorer for ClipColumns {
    fn columns(&self) -> Vec<Column> {
        let column = |name: &str, computed_by: String, explanation: &str| Column {
            name: name.into(),
            computed_by,
            explanation: explanation.into(),
            higher_is_better: Some(true),
        };
        vec![
            column(
                "CLIP-I",
                self.computed_by.clone(),
                "Mean cosine between a picture and the references, by the CLIP judge.",
            ),
            column(
                "CLIP-T",
                format!("{}, {}", self.computed_by, self.reading),
                "Cosine between a picture and its prompt, by the CLIP judge.",
            ),
        ]
    }

    fn values(&self, scored: Scored<'_>) -> Result<Vec<Vec<f64>>> {
        let Scored {
            pictures,
            references,
            texts,
            ..
        } = scored;
        let scores = self.judge.scores(pictures, references, &[texts.to_vec()])?;
        Ok(std::iter::once(scores.image).chain(scores.texts).collect())
    }
}
