//! Scores of a checkpoint's test pictures.

use super::Folder;
use anyhow::{Context, Result};
use rpo_files::{AtPath, check_sum, write_summed};
use rpo_reward::{Candidate, Score};
use rpo_stats::Column;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::ErrorKind;

/// Scores of one test picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PictureResult {
    /// Index of its test prompt.
    pub prompt: usize,
    /// Index among that prompt's pictures.
    pub picture: usize,
    /// One value per column.
    pub values: Vec<f64>,
    /// The pair of scores of the reward's encoder, for λ-means on test pictures.
    pub score: Score,
}

/// `test/step-000120.json`, or of a variant `test/step-000120-ema.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepResult {
    /// The checkpoint.
    #[serde(flatten)]
    pub candidate: Candidate,
    /// The prompts, filled in.
    pub prompts: Vec<String>,
    /// The columns of the pictures' values.
    pub columns: Vec<Column>,
    /// One result per picture, by prompt.
    pub pictures: Vec<PictureResult>,
}

impl StepResult {
    /// Name of its file in the folder of results, `test/`.
    fn file(of: Candidate) -> String {
        format!("{}.json", of.folder())
    }

    /// The result of a checkpoint, if it exists.
    ///
    /// # Errors
    /// If the file cannot be read or is not as it was written, with the path and how to test this checkpoint again.
    pub fn read(folder: &Folder, of: Candidate) -> Result<Option<Self>> {
        let (place, file) = (folder.results(), Self::file(of));
        let path = place.join(&file);
        let bytes = match fs::read(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.reading(&path)?,
        };
        check_sum(&place, &file).with_context(|| {
            let path = path.display();
            format!("delete {path} and resume the run to test this checkpoint again")
        })?;
        // Versions without checksums may have left a truncated file.
        let Ok(result) = serde_json::from_slice::<Self>(&bytes) else {
            return Ok(None);
        };
        let fits = |p: &PictureResult| {
            p.prompt < result.prompts.len() && p.values.len() == result.columns.len()
        };
        let whole = result.candidate == of && !result.pictures.is_empty();
        Ok((whole && result.pictures.iter().all(fits)).then_some(result))
    }

    /// Writes it with its checksum.
    ///
    /// # Errors
    /// I/O errors, by path.
    pub fn write(&self, folder: &Folder) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        let (place, file) = (folder.results(), Self::file(self.candidate));
        // An unusable file would not match the new checksum if a kill came before the new file.
        match fs::remove_file(place.join(&file)) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                return Ok(Err(e).removing(&place.join(&file))?);
            }
            _ => {}
        }
        write_summed(&place, &file, text.as_bytes())
    }
}
