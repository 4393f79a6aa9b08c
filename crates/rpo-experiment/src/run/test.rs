//! What the test pictures of a checkpoint scored.

use super::Folder;
use rpo_files::input;
use rpo_reward::Score;
use rpo_stats::Column;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What one test picture scored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PictureResult {
    /// Place of its test prompt.
    pub prompt: usize,
    /// Number among that prompt's pictures.
    pub picture: usize,
    /// One value in each of the columns.
    pub values: Vec<f64>,
    /// The reward encoder's pair, for λ-means on test pictures.
    pub score: Score,
}

/// `test/step-000120.json`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepResult {
    /// Steps taken by the checkpoint.
    pub step: usize,
    /// The prompts, filled in.
    pub prompts: Vec<String>,
    /// What the values of the pictures are.
    pub columns: Vec<Column>,
    /// One result a picture, prompt by prompt.
    pub pictures: Vec<PictureResult>,
}

/// `test/step-000120.json`
pub fn result_path(folder: &Folder, step: usize) -> PathBuf {
    folder.0.join(format!("test/step-{step:06}.json"))
}

impl StepResult {
    /// The result of a checkpoint, if it is there and whole: what is not can be made again from the checkpoint.
    pub fn read(folder: &Folder, step: usize) -> Option<Self> {
        let result: Self = input::read_json(&result_path(folder, step)).ok()?;
        let fits = |p: &PictureResult| {
            p.prompt < result.prompts.len() && p.values.len() == result.columns.len()
        };
        let whole = result.step == step && !result.pictures.is_empty();
        (whole && result.pictures.iter().all(fits)).then_some(result)
    }
}
