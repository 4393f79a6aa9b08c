//! `[candidates]`: what a rule may choose beside the trained weights of the validated steps.

use crate::layer::Layers;
use crate::ranges::in_range;
use anyhow::Result;
use rpo_reward::{Scale, ScaleOutOfRange, Variant};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Number of scales that an experiment may have.
const MOST_SCALES: usize = 20;

/// `[candidates]`: at every validated step after 0 these weights are scored beside the trained ones, on the same prompts and noise,
/// and chosen by the same rules. Each costs another validation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Candidates {
    /// Factors on what training changed: W_base + s (W - W_base) of every trained tensor, B of adapters s times. More than 0, at most
    /// 2, with at most three decimals; 1, the trained weights, is always a candidate: `[0.4, 0.7]`.
    pub scale: Vec<f64>,
    /// Decay of an exponential moving average of the trained tensors over the steps, a candidate of its own: 0.99; 0: none. After n
    /// steps the decay is at most (1 + n) / (10 + n).
    pub ema: f64,
}

impl Candidates {
    pub(super) fn is_usual(&self) -> bool {
        *self == Self::default()
    }

    /// The same candidates, written in one way.
    pub(super) fn normalise(&mut self) {
        self.scale.retain(|scale| *scale != 1.0);
        self.scale.sort_by(f64::total_cmp);
        self.scale.dedup();
    }

    /// # Errors
    /// [`rpo_files::failure::BadInput`] at a scale or a decay out of range.
    pub(super) fn check(&self, layers: &Layers) -> Result<()> {
        if self.scale.len() > MOST_SCALES {
            let message = format!("{} scales, of at most {MOST_SCALES}", self.scale.len());
            return Err(layers.error("candidates.scale", &message));
        }
        for (i, scale) in self.scale.iter().enumerate() {
            let key = format!("candidates.scale.{i}");
            if *scale != 1.0 {
                Scale::new(*scale).map_err(|e| layers.error(&key, &e.to_string()))?;
            }
            if self.scale[..i].contains(scale) {
                let message = format!("{scale} is given twice\n  hint: leave one away");
                return Err(layers.error(&key, &message));
            }
        }
        if self.ema != 0.0 {
            in_range("candidates.ema", self.ema, 1e-9, 1.0 - 1e-9, layers)?;
        }
        Ok(())
    }

    /// The variants of a step's weights beside the trained ones, in the order in which they are scored.
    pub(super) fn variants(&self) -> Result<Vec<Variant>, ScaleOutOfRange> {
        let others = self.scale.iter().filter(|scale| **scale != 1.0);
        let scales = others.map(|scale| Scale::new(*scale).map(Variant::Scaled));
        let mut variants = scales.collect::<Result<Vec<_>, _>>()?;
        variants.extend((self.ema > 0.0).then_some(Variant::Ema));
        variants.sort();
        variants.dedup();
        Ok(variants)
    }
}

#[cfg(test)]
mod tests {
    use crate::Experiment;

    #[test]
    fn the_trained_weights_are_always_a_candidate() {
        let of = |text: &str| toml::from_str::<Experiment>(text).unwrap();
        let names = |text: &str| -> Vec<String> {
            let variants = of(text).candidates.variants().unwrap();
            variants.iter().map(ToString::to_string).collect()
        };
        assert!(names("").is_empty());
        let both = "candidates = { scale = [1, 0.7, 0.4], ema = 0.99 }";
        assert_eq!(names(both), ["scale-0.4", "scale-0.7", "ema"]);
        let same = "candidates = { scale = [0.4, 0.7], ema = 0.99 }";
        assert_eq!(of(both).meaning(), of(same).meaning());
        assert_eq!(
            of("candidates = { scale = [1.0] }").meaning(),
            of("").meaning()
        );
        assert_ne!(of(same).meaning(), of("").meaning());
    }
}
