//! What pictures are drawn with.

use crate::files;
use anyhow::Result;
use rpo_diffusion::{Texts, UNet2DConditionModel, Word};
use rpo_files::failure::OrBadInput;

/// What pictures are drawn with, without gradients.
pub struct Network {
    /// Predicts noise.
    pub unet: UNet2DConditionModel,
    /// Reads prompts, if not the model's own text encoders.
    pub texts: Option<Texts>,
    /// Hash of the weights of both.
    pub weights: String,
}

impl Network {
    /// Lets it read new words, beside those that it may have; `own`: the model's own text encoders.
    ///
    /// # Errors
    /// If a word is none for these encoders, or known already.
    pub fn read_words(&mut self, words: &[Word], own: &Texts) -> Result<()> {
        if words.is_empty() {
            return Ok(());
        }
        let reading = self.texts.as_ref().unwrap_or(own).with_words(words);
        self.texts = Some(reading.or_bad_input("embedding")?);
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.weights.as_bytes());
        for word in words {
            hasher.update(word.token.as_bytes());
            for rows in &word.rows {
                files::hash_tensor(&mut hasher, "rows", rows)?;
            }
        }
        self.weights = hasher.finalize().to_hex()[..32].to_owned();
        Ok(())
    }
}
