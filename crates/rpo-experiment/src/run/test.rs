//! What the test pictures of a checkpoint scored.

use super::Folder;
use anyhow::{Context, Result};
use rpo_files::{check_sum, input, write_summed};
use rpo_reward::Score;
use rpo_stats::Column;
use serde::{Deserialize, Serialize};

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

impl StepResult {
    /// Its file below the folder of results, `test/`.
    fn file(step: usize) -> String {
        format!("step-{step:06}.json")
    }

    /// The result of a checkpoint, if it is there and whole: what is not can be made again from the checkpoint.
    ///
    /// # Errors
    /// A file that is not as it was written, by path, with the way to test this checkpoint again.
    pub fn read(folder: &Folder, step: usize) -> Result<Option<Self>> {
        let (place, file) = (folder.results(), Self::file(step));
        let path = place.join(&file);
        let Ok(result) = input::read_json::<Self>(&path) else {
            // Not there, or cut off: a checksum cannot tell which.
            return Ok(None);
        };
        check_sum(&place, &file).with_context(|| {
            let path = path.display();
            format!("delete {path} and resume the run to test this checkpoint again")
        })?;
        let fits = |p: &PictureResult| {
            p.prompt < result.prompts.len() && p.values.len() == result.columns.len()
        };
        let whole = result.step == step && !result.pictures.is_empty();
        Ok((whole && result.pictures.iter().all(fits)).then_some(result))
    }

    /// Writes it with its checksum.
    ///
    /// # Errors
    /// I/O errors, by path.
    pub fn write(&self, folder: &Folder) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        write_summed(&folder.results(), &Self::file(self.step), text.as_bytes())
    }
}
