//! Time spent in each phase of a run.

use serde::{Deserialize, Serialize};

/// A phase of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Drawing negatives and preparing the inputs of training.
    Negatives,
    /// Gradient steps.
    Training,
    /// Drawing and scoring validation pictures.
    Validation,
    /// Drawing and scoring test pictures.
    Test,
}

/// Seconds spent in each phase, over all starts.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Times {
    /// See [`Phase::Negatives`].
    pub negatives: f64,
    /// See [`Phase::Training`].
    pub training: f64,
    /// See [`Phase::Validation`].
    pub validation: f64,
    /// See [`Phase::Test`].
    pub test: f64,
    /// From start to end.
    pub total: f64,
}

impl std::ops::AddAssign for Times {
    fn add_assign(&mut self, other: Self) {
        self.negatives += other.negatives;
        self.training += other.training;
        self.validation += other.validation;
        self.test += other.test;
        self.total += other.total;
    }
}

impl Times {
    /// Seconds of one phase.
    pub fn phase(&mut self, phase: Phase) -> &mut f64 {
        match phase {
            Phase::Negatives => &mut self.negatives,
            Phase::Training => &mut self.training,
            Phase::Validation => &mut self.validation,
            Phase::Test => &mut self.test,
        }
    }

    /// Share of validation in the time of all phases, in \[0, 1\].
    pub fn validation_share(&self) -> f64 {
        let all = self.negatives + self.training + self.validation + self.test;
        if all > 0.0 {
            self.validation / all
        } else {
            0.0
        }
    }
}

/// `75` seconds as `1 min 15 s`.
pub fn duration(seconds: f64) -> String {
    let s = seconds.round() as u64;
    match (s / 3600, s / 60 % 60, s % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s:02} s"),
        (h, m, _) => format!("{h} h {m:02} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_read_naturally() {
        assert_eq!(
            [5.2, 75.0, 7260.0].map(duration),
            ["5 s", "1 min 15 s", "2 h 01 min"]
        );
    }
}
