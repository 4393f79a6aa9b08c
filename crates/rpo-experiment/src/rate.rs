//! The learning rate of each step: a pure function of the step, with diffusers' names and values (`get_scheduler`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// diffusers' `lr_end` of `polynomial`.
pub(crate) const POLYNOMIAL_END: f64 = 1e-7;

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

/// What a learning rate depends on besides the step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Course {
    pub(crate) scheduler: LrScheduler,
    /// η, the rate after the warm-up.
    pub(crate) rate: f64,
    /// N.
    pub(crate) steps: usize,
    /// w.
    pub(crate) warmup: usize,
    pub(crate) power: f64,
}

impl Course {
    /// The learning rate of a step, from 1 on. With w steps of warm-up, N steps in all and k = step - 1: η k / w in the warm-up, then
    /// η times 1, `(N - k) / (N - w)`, `(1 + cos(π (k - w) / (N - w))) / 2`, or above 1e-7 the share `((N - k) / (N - w))^power` of
    /// η - 1e-7.
    pub(crate) fn at(&self, step: usize) -> f64 {
        let (rate, k) = (self.rate, step.saturating_sub(1) as f64);
        let (warmup, steps) = (self.warmup as f64, self.steps as f64);
        if k < warmup {
            return rate * k / warmup;
        }
        let length = (steps - warmup).max(1.0);
        let left = ((steps - k) / length).max(0.0);
        match self.scheduler {
            LrScheduler::Constant => rate,
            LrScheduler::Linear => rate * left,
            LrScheduler::Cosine => {
                rate * (0.5 * (1.0 + (PI * (k - warmup) / length).cos())).max(0.0)
            }
            LrScheduler::Polynomial => {
                (rate - POLYNOMIAL_END) * left.powf(self.power) + POLYNOMIAL_END
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
            let course = Course {
                scheduler: serde_json::from_value(case["lr_scheduler"].clone()).unwrap(),
                rate: case["learning_rate"].as_f64().unwrap(),
                steps: case["steps"].as_u64().unwrap() as usize,
                warmup: case["lr_warmup_steps"].as_u64().unwrap() as usize,
                power: case["lr_power"].as_f64().unwrap(),
            };
            for (i, wanted) in case["rates"].as_array().unwrap().iter().enumerate() {
                let (own, wanted) = (course.at(i + 1), wanted.as_f64().unwrap());
                let close = (own - wanted).abs() <= 1e-12 * course.rate;
                assert!(close, "{case}: step {}: {own}, not {wanted}", i + 1);
            }
        }
    }
}
