//! The learning rate of each step: a pure function of the step, with diffusers' names and values (`get_scheduler`).

use crate::fields::Training;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// diffusers' `lr_end` of `polynomial`.
const POLYNOMIAL_END: f64 = 1e-7;

/// How the learning rate goes on after the warm-up; `lr_scheduler` in diffusers' scripts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LrScheduler {
    /// It stays. (With a warm-up, diffusers' `constant_with_warmup`.)
    #[default]
    Constant,
    /// It falls along a line, to 0 after the last step.
    Linear,
    /// It falls along half a cosine, to 0 after the last step.
    Cosine,
    /// It falls along a line to the power of `lr_power`, to 1e-7.
    Polynomial,
}

impl LrScheduler {
    /// Whether the key may be left away.
    pub(crate) fn is_constant(&self) -> bool {
        *self == Self::Constant
    }
}

impl Training {
    /// The learning rate of a step, from 1 on. With w steps of warm-up, N steps in all and k = step - 1, η k / w in the warm-up, then
    /// η times 1, `(N - k) / (N - w)`, `(1 + cos(π (k - w) / (N - w))) / 2`, or of η - 1e-7 the share `((N - k) / (N - w))^power`
    /// above 1e-7. N is `training.steps`, also where rules end the training before.
    pub fn rate(&self, step: usize) -> f64 {
        let (rate, k) = (self.learning_rate, step.saturating_sub(1) as f64);
        let (warmup, steps) = (self.lr_warmup_steps as f64, self.steps as f64);
        if k < warmup {
            return rate * k / warmup;
        }
        let length = (steps - warmup).max(1.0);
        let left = ((steps - k) / length).max(0.0);
        match self.lr_scheduler {
            LrScheduler::Constant => rate,
            LrScheduler::Linear => rate * left,
            LrScheduler::Cosine => {
                rate * (0.5 * (1.0 + (PI * (k - warmup) / length).cos())).max(0.0)
            }
            LrScheduler::Polynomial => {
                (rate - POLYNOMIAL_END) * left.powf(self.lr_power) + POLYNOMIAL_END
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// Written by `scripts/golden/learning_rates.py`.
    const GOLDEN: &str = include_str!("../tests/golden/learning_rates.json");

    #[test]
    fn rates_are_those_of_diffusers() {
        let golden: Value = serde_json::from_str(GOLDEN).unwrap();
        let cases = golden["cases"].as_array().unwrap();
        assert!(cases.len() >= 10);
        for case in cases {
            let training = Training {
                learning_rate: case["learning_rate"].as_f64().unwrap(),
                steps: case["steps"].as_u64().unwrap() as usize,
                lr_scheduler: serde_json::from_value(case["lr_scheduler"].clone()).unwrap(),
                lr_warmup_steps: case["lr_warmup_steps"].as_u64().unwrap() as usize,
                lr_power: case["lr_power"].as_f64().unwrap(),
                ..Training::default()
            };
            for (i, wanted) in case["rates"].as_array().unwrap().iter().enumerate() {
                let (own, wanted) = (training.rate(i + 1), wanted.as_f64().unwrap());
                let close = (own - wanted).abs() <= 1e-12 * training.learning_rate;
                assert!(close, "{case}: step {}: {own}, not {wanted}", i + 1);
            }
        }
    }
}
