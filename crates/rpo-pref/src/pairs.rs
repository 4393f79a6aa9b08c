//! Which reference is paired with which generated picture in ℓ, and whose rewards determine the label.

use rand::Rng;
use serde::{Deserialize, Serialize};

/// How pairs are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pairs {
    /// Every reference with every generated picture, uniformly (paper).
    Uniform,
    /// Pair i is (reference i, prompt i, picture i), and only the first `max(1, n_ref)` of them exist (official,
    /// on one GPU): 5 of 640 for a subject with five references. Indices wrap around where there are fewer.
    Official,
}

/// A reference and a generated picture, by their indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Pair {
    /// Which reference.
    pub reference: usize,
    /// Which training prompt.
    pub prompt: usize,
    /// Which of that prompt's generated pictures.
    pub picture: usize,
}

/// Whose rewards determine the label of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelReward {
    /// The pair's own two pictures (paper).
    Pair,
    /// Always the prompt's picture 0, against the one reference that was scored with that prompt, number
    /// `prompt mod n_ref` (official, on one GPU).
    FirstOfPrompt,
}

impl LabelReward {
    /// The reference and the generated picture of `pair.prompt` whose rewards are compared.
    #[must_use]
    pub fn compared(self, pair: Pair, references: usize) -> Pair {
        match self {
            LabelReward::Pair => pair,
            LabelReward::FirstOfPrompt => Pair {
                reference: pair.prompt % references,
                prompt: pair.prompt,
                picture: 0,
            },
        }
    }
}

/// Draws the pairs of one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairSampler {
    pairs: Pairs,
    references: usize,
    prompts: usize,
    negatives: usize,
}

/// A subject without pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no pair can be made of {references} references, {prompts} training prompts and {negatives} generated pictures per prompt: each must be at least 1"
)]
pub struct NoPairs {
    /// Number of references.
    pub references: usize,
    /// Number of training prompts.
    pub prompts: usize,
    /// Number of generated pictures per prompt.
    pub negatives: usize,
}

impl PairSampler {
    /// Pairs of `references` with `negatives` generated pictures for each of `prompts`.
    ///
    /// # Errors
    /// [`NoPairs`] if one of the three is 0.
    pub fn new(
        pairs: Pairs,
        references: usize,
        prompts: usize,
        negatives: usize,
    ) -> Result<Self, NoPairs> {
        if references == 0 || prompts == 0 || negatives == 0 {
            return Err(NoPairs {
                references,
                prompts,
                negatives,
            });
        }
        Ok(Self {
            pairs,
            references,
            prompts,
            negatives,
        })
    }

    /// Number of different pairs.
    #[must_use]
    pub fn count(&self) -> usize {
        match self.pairs {
            Pairs::Uniform => self.references * self.prompts * self.negatives,
            Pairs::Official => self.references,
        }
    }

    /// Pair `index` of [`count`](Self::count); for [`Pairs::Uniform`] the picture varies fastest, then the prompt.
    #[must_use]
    pub fn pair(&self, index: usize) -> Pair {
        let index = index % self.count();
        match self.pairs {
            Pairs::Uniform => Pair {
                reference: index / (self.prompts * self.negatives),
                prompt: index / self.negatives % self.prompts,
                picture: index % self.negatives,
            },
            Pairs::Official => Pair {
                reference: index,
                prompt: index % self.prompts,
                picture: index % self.negatives,
            },
        }
    }

    /// One pair, drawn uniformly and independently.
    /// (The official loader shuffles its few pairs in every epoch: the same frequencies.)
    pub fn draw<R: Rng + ?Sized>(&self, rng: &mut R) -> Pair {
        self.pair(rng.random_range(0..self.count()))
    }
}
