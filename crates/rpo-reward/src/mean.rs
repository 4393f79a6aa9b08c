//! One reward from two scores: the λ-weighted harmonic (Eq. 5), arithmetic and geometric means.

use serde::{Deserialize, Serialize};

/// The weight λ of the image score, in `[0, 1]`; the text score has weight `1 - λ`.
///
/// Serialised as a plain number; a number outside the range is refused.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Lambda(f64);

/// A weight outside `[0, 1]`, or not a number.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("lambda = {0} is not in 0..=1: 0 weighs only the text, 1 only the image")]
pub struct LambdaOutOfRange(pub f64);

impl Lambda {
    /// λ = 0: only the text score counts (the paper's default for labels).
    pub const TEXT: Lambda = Lambda(0.0);
    /// λ = 0.5: both scores count equally (the paper's headline row).
    pub const HALF: Lambda = Lambda(0.5);
    /// λ = 1: only the image score counts.
    pub const IMAGE: Lambda = Lambda(1.0);

    /// Accepts a number in `[0, 1]`.
    ///
    /// # Errors
    /// [`LambdaOutOfRange`] for any other number, NaN included.
    pub fn try_new(value: f64) -> Result<Self, LambdaOutOfRange> {
        // `+ 0.0` turns -0.0 into 0.0, so that equal weights print equally.
        if (0.0..=1.0).contains(&value) {
            Ok(Self(value + 0.0))
        } else {
            Err(LambdaOutOfRange(value))
        }
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }

    /// The 21 weights 0, .05, …, 1 for which winning checkpoints are kept.
    pub fn grid() -> impl Iterator<Item = Lambda> {
        // A quotient of two small integers is the f64 nearest to the decimal: 6 / 20 is `0.3` exactly.
        (0..=20u8).map(|i| Lambda(f64::from(i) / 20.0))
    }
}

impl TryFrom<f64> for Lambda {
    type Error = LambdaOutOfRange;

    fn try_from(value: f64) -> Result<Self, Self::Error> {
        Self::try_new(value)
    }
}

impl From<Lambda> for f64 {
    fn from(lambda: Lambda) -> f64 {
        lambda.0
    }
}

impl std::fmt::Display for Lambda {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The pair (ALIGN-I, ALIGN-T) of one picture, both in `[0, 1]`.
///
/// The pair is stored, never a reward, so that any λ and mean can be computed later.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// ALIGN-I: mean over the references of `(cos + 1) / 2`.
    pub image: f64,
    /// ALIGN-T: `(cos + 1) / 2` with the prompt.
    pub text: f64,
}

/// A score outside `[0, 1]`, or not a number.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error(
    "the {component} score is {value}, outside 0..=1: the picture or the encoder's output is not finite, or the similarity was not mapped by (cos + 1) / 2"
)]
pub struct ScoreOutOfRange {
    /// `"image"` or `"text"`.
    pub component: &'static str,
    /// The score.
    pub value: f64,
}

impl Score {
    /// A pair of scores.
    ///
    /// # Errors
    /// [`ScoreOutOfRange`] unless both are in `[0, 1]`.
    pub fn new(image: f64, text: f64) -> Result<Self, ScoreOutOfRange> {
        let score = Self { image, text };
        score.check()?;
        Ok(score)
    }

    /// Whether both scores are in `[0, 1]`.
    ///
    /// # Errors
    /// [`ScoreOutOfRange`] names the one that is not.
    pub fn check(&self) -> Result<(), ScoreOutOfRange> {
        for (component, value) in [("image", self.image), ("text", self.text)] {
            if !(0.0..=1.0).contains(&value) {
                return Err(ScoreOutOfRange { component, value });
            }
        }
        Ok(())
    }
}

/// How the image score I and the text score T are combined into one reward. For every pair H ≤ G ≤ A.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Mean {
    /// `1 / (λ/I + (1-λ)/T)`, Eq. 5: a high score cannot make up for a low one.
    #[default]
    Harmonic,
    /// `λI + (1-λ)T`.
    Arithmetic,
    /// `I^λ T^(1-λ)`.
    Geometric,
}

impl Mean {
    /// The reward of one picture, in `[min(I, T), max(I, T)]`.
    ///
    /// A component with weight zero is ignored: λ = 0 gives T and λ = 1 gives I, whatever the other is.
    /// A zero component with a positive weight makes the harmonic and the geometric mean 0, their limit.
    #[must_use]
    pub fn reward(self, score: Score, lambda: Lambda) -> f64 {
        let Score { image, text } = score;
        let lambda = lambda.get();
        if lambda == 0.0 {
            return text;
        }
        if lambda == 1.0 {
            return image;
        }
        match self {
            Mean::Harmonic if image == 0.0 || text == 0.0 => 0.0,
            Mean::Harmonic => 1.0 / (lambda / image + (1.0 - lambda) / text),
            Mean::Arithmetic => lambda * image + (1.0 - lambda) * text,
            Mean::Geometric => image.powf(lambda) * text.powf(1.0 - lambda),
        }
    }

    /// Its name in experiment files and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Mean::Harmonic => "harmonic",
            Mean::Arithmetic => "arithmetic",
            Mean::Geometric => "geometric",
        }
    }
}

impl std::fmt::Display for Mean {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The reward of a set of pictures: the mean of the pictures' rewards, never the mean of the averages
/// (the two differ for every mean but the arithmetic one). NaN for an empty set.
#[must_use]
pub fn mean_reward(scores: &[Score], mean: Mean, lambda: Lambda) -> f64 {
    scores
        .iter()
        .map(|&score| mean.reward(score, lambda))
        .sum::<f64>()
        / scores.len() as f64
}
