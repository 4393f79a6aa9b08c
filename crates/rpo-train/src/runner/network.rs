//! What pictures are drawn with.

use crate::files;
use anyhow::Result;
use rpo_data::prompts::without_token;
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
    /// What leads to it from the base, if anything does.
    pub reward: Option<Reward>,
}

/// Reward guidance, from the base under prompts without the token.
pub struct Reward {
    /// w_r.
    pub scale: f64,
    /// Predicts noise for the base.
    pub base: UNet2DConditionModel,
    /// Reads the base's prompts, if not the model's own text encoders.
    pub texts: Option<Texts>,
    /// Hash of the weights of both.
    pub weights: String,
    /// The subject's token.
    pub token: String,
}

impl Reward {
    /// A prompt as the base reads it: without the token.
    pub fn plain(&self, prompt: &str) -> String {
        without_token(prompt, &self.token)
    }

    /// Everything that the bits of a prompt's picture depend on.
    pub fn key(&self, prompt: &str) -> String {
        format!("{} {} {:?}", self.scale, self.weights, self.plain(prompt))
    }
}

impl Network {
    /// Lets it read new words, beside those that it may have, and the base of reward guidance too: they are not what was trained.
    /// `own`: the model's own text encoders.
    ///
    /// # Errors
    /// If a word is none for these encoders, or known already.
    pub fn read_words(&mut self, words: &[Word], own: &Texts) -> Result<()> {
        if words.is_empty() {
            return Ok(());
        }
        let read = |texts: &mut Option<Texts>, weights: &mut String| -> Result<()> {
            let reading = texts.as_ref().unwrap_or(own).with_words(words);
            *texts = Some(reading.or_bad_input("embedding")?);
            *weights = with_words(weights, words)?;
            Ok(())
        };
        if let Some(reward) = &mut self.reward {
            read(&mut reward.texts, &mut reward.weights)?;
        }
        read(&mut self.texts, &mut self.weights)
    }
}

/// Hash of weights and of words that are read beside them.
fn with_words(weights: &str, words: &[Word]) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(weights.as_bytes());
    for word in words {
        hasher.update(word.token.as_bytes());
        for rows in &word.rows {
            files::hash_tensor(&mut hasher, "rows", rows)?;
        }
    }
    Ok(hasher.finalize().to_hex()[..32].to_owned())
}
