//! Prompts with their conditioning by the model's own text encoders.

use anyhow::Result;
use rpo_diffusion::{Conditioning, Texts};

/// One prompt a row. Networks with text encoders of their own encode the prompts again.
#[derive(Clone)]
pub struct Prompted {
    /// The prompts; empty where only their conditioning is known.
    pub prompts: Vec<String>,
    /// As the base model reads them.
    pub text: Conditioning,
}

impl From<Conditioning> for Prompted {
    /// A conditioning from elsewhere.
    fn from(text: Conditioning) -> Self {
        Self {
            prompts: Vec::new(),
            text,
        }
    }
}

impl Prompted {
    /// Prompts as the model's own encoders read them; `size`: side of the pictures in pixels.
    ///
    /// # Errors
    /// Those of the text encoders.
    pub fn encode(texts: &Texts, prompts: Vec<String>, size: usize) -> Result<Self> {
        Ok(Self {
            text: texts.encode(&prompts, size)?,
            prompts,
        })
    }

    /// Some rows, in this order; rows may repeat.
    ///
    /// # Errors
    /// If a row does not exist.
    pub fn select(&self, rows: &[u32]) -> Result<Self> {
        let prompts = rows
            .iter()
            .filter_map(|row| self.prompts.get(*row as usize));
        Ok(Self {
            prompts: prompts.cloned().collect(),
            text: self.text.select(rows)?,
        })
    }

    /// `n` rows from `start` on.
    ///
    /// # Errors
    /// If the rows do not exist.
    pub fn narrow(&self, start: usize, n: usize) -> Result<Self> {
        let prompts = self.prompts.get(start..start + n).unwrap_or_default();
        Ok(Self {
            prompts: prompts.to_vec(),
            text: self.text.narrow(start, n)?,
        })
    }
}
