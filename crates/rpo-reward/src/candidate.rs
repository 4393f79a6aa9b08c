//! What a rule chooses from: weights after some steps, as they were trained or a variant of them.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A checkpoint: the weights after some steps, or a variant of them. Ordered by step; the trained weights are the last of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Candidate {
    /// Gradient steps done; 0 is the base model.
    pub step: usize,
    /// Which weights of this step; not written where they are the trained ones, as before there were others.
    #[serde(default, skip_serializing_if = "Variant::is_trained")]
    pub variant: Variant,
}

/// Which weights of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Variant {
    /// What training changed counts so much: between the base and the trained weights, or beyond.
    Scaled(Scale),
    /// The exponential moving average over the steps so far.
    Ema,
    /// As they were trained.
    #[default]
    Trained,
}

/// A factor on what training changed, in thousandths: 0.001 to 2, and not 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scale(u16);

/// A factor that is none of [`Scale`]'s.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error(
    "{0} is no scale of a candidate: more than 0, at most 2, with at most three decimals, and not 1, the trained weights themselves, which are always one"
)]
pub struct ScaleOutOfRange(pub f64);

impl Scale {
    /// A factor.
    ///
    /// # Errors
    /// [`ScaleOutOfRange`]
    pub fn new(scale: f64) -> Result<Self, ScaleOutOfRange> {
        let thousandths = (scale * 1000.0).round();
        let near = (scale * 1000.0 - thousandths).abs() < 1e-6;
        if !(near && (1.0..=2000.0).contains(&thousandths) && thousandths != 1000.0) {
            return Err(ScaleOutOfRange(scale));
        }
        Ok(Self(thousandths as u16))
    }

    /// The factor.
    #[must_use]
    pub fn get(self) -> f64 {
        f64::from(self.0) / 1000.0
    }
}

impl fmt::Display for Variant {
    /// As in records and names of files: `scale-0.4`, `ema`, `trained`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scaled(scale) => write!(f, "scale-{}", scale.get()),
            Self::Ema => f.write_str("ema"),
            Self::Trained => f.write_str("trained"),
        }
    }
}

impl FromStr for Variant {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        let variant = match name {
            "ema" => Self::Ema,
            "trained" => Self::Trained,
            name => {
                let scale = name.strip_prefix("scale-").ok_or(())?;
                let scale = scale.parse().map_err(|_| ())?;
                Self::Scaled(Scale::new(scale).map_err(|_| ())?)
            }
        };
        // One name each, because files are found by it.
        (variant.to_string() == name).then_some(variant).ok_or(())
    }
}

impl Variant {
    /// Whether these are the trained weights.
    #[must_use]
    pub fn is_trained(&self) -> bool {
        *self == Self::Trained
    }

    /// For people: nothing, `EMA` or `scale 0.4`.
    #[must_use]
    pub fn in_words(self) -> String {
        match self {
            Self::Scaled(scale) => format!("scale {}", scale.get()),
            Self::Ema => "EMA".to_owned(),
            Self::Trained => String::new(),
        }
    }
}

/// The trained weights after so many steps.
impl From<usize> for Candidate {
    fn from(step: usize) -> Self {
        Self {
            step,
            variant: Variant::Trained,
        }
    }
}

impl Candidate {
    /// The base model.
    pub const BASE: Self = Self {
        step: 0,
        variant: Variant::Trained,
    };

    /// As one writes it, and as it is read: `120`, `120-ema`, `120-scale-0.4`.
    #[must_use]
    pub fn written(self) -> String {
        match self.variant {
            Variant::Trained => self.step.to_string(),
            variant => format!("{}-{variant}", self.step),
        }
    }

    /// The name of its folders and files: `step-000120`, `step-000120-ema`, `step-000120-scale-0.4`.
    #[must_use]
    pub fn folder(self) -> String {
        match self.variant {
            Variant::Trained => format!("step-{:06}", self.step),
            variant => format!("step-{:06}-{variant}", self.step),
        }
    }

    /// The candidate with this [`Self::folder`].
    #[must_use]
    pub fn of_folder(name: &str) -> Option<Self> {
        let rest = name.strip_prefix("step-")?;
        let candidate = match rest.split_once('-') {
            None => rest.parse::<usize>().ok()?.into(),
            Some((step, variant)) => Self {
                step: step.parse().ok()?,
                variant: variant.parse().ok()?,
            },
        };
        (candidate.folder() == name).then_some(candidate)
    }
}

/// For people, after the word step: `120`, `120 (EMA)`, `120 (scale 0.4)`.
impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.variant {
            Variant::Trained => write!(f, "{}", self.step),
            variant => write!(f, "{} ({})", self.step, variant.in_words()),
        }
    }
}

/// As [`Candidate::written`].
impl FromStr for Candidate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no checkpoint: a step (120), its average (120-ema) or its change scaled (120-scale-0.4)"
            )
        };
        let (step, variant) = match text.split_once('-') {
            None => (text, Ok(Variant::Trained)),
            Some((step, variant)) => (step, variant.parse()),
        };
        Ok(Self {
            step: step.parse().map_err(|_| wrong())?,
            variant: variant.map_err(|()| wrong())?,
        })
    }
}

impl Serialize for Variant {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Variant {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let none = |()| {
            let hint = "\"trained\", \"ema\", \"scale-0.4\"";
            serde::de::Error::custom(format!("{name:?} is no variant of weights: {hint}"))
        };
        name.parse().map_err(none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Candidate> {
        let scale = |s| Variant::Scaled(Scale::new(s).unwrap());
        let of = |variant| Candidate { step: 120, variant };
        let variants = [0.001, 0.4, 0.75, 1.001, 2.0].map(scale);
        let mut all: Vec<Candidate> = variants.into_iter().map(of).collect();
        all.extend([Variant::Ema, Variant::Trained].map(of));
        all
    }

    #[test]
    fn names_are_read_back_and_no_other_ones() {
        for candidate in all() {
            let folder = candidate.folder();
            assert_eq!(Candidate::of_folder(&folder), Some(candidate), "{folder}");
            assert_eq!(candidate.written().parse(), Ok(candidate));
            let json = serde_json::to_string(&candidate.variant).unwrap();
            let variant: Variant = serde_json::from_str(&json).unwrap();
            assert_eq!(variant, candidate.variant);
        }
        let folders = [
            "step-120",
            "step-000120-",
            "step-000120-best",
            "step-000120-trained",
            "step-000120-scale-0.40",
            "step-000120-scale-1",
            "step-000120-scale-3",
            "step-000120-scale-nan",
            "step--00120",
            "step-+00120",
        ];
        for folder in folders {
            assert_eq!(Candidate::of_folder(folder), None, "{folder}");
        }
        assert_eq!("120-ema".parse(), Ok(all()[5]));
        assert_eq!("120-scale-0.4".parse(), Ok(all()[1]));
        assert_eq!("120".parse(), Ok(all()[6]));
        for text in ["", "ema", "120-", "120 (EMA)", "-1", "120-scale-1"] {
            assert!(text.parse::<Candidate>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_trained_weights_are_the_last_of_a_step() {
        let all = all();
        assert!(all.is_sorted());
        assert!(all.iter().all(|c| *c < 121.into() && *c > 119.into()));
        assert_eq!(all[1].to_string(), "120 (scale 0.4)");
        assert_eq!(all[5].to_string(), "120 (EMA)");
        assert_eq!(all[6].to_string(), "120");
    }

    #[test]
    fn scales_are_thousandths_between_nothing_and_twice_the_change() {
        for scale in [0.001, 0.4, 0.7, 0.999, 1.5, 2.0] {
            assert_eq!(Scale::new(scale).unwrap().get(), scale);
        }
        for scale in [0.0, -0.4, 1.0, 2.001, 0.0004, 0.33333, f64::NAN, 1e30] {
            assert!(Scale::new(scale).is_err(), "{scale}");
        }
    }
}
