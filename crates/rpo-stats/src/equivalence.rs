//! Two one-sided tests (TOST): whether a difference is shown to be within a margin.

use crate::paired::Interval;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// The result of two one-sided Student tests of "the difference is -margin or less" and "it is margin or more".
///
/// A large p of the usual test shows no equality; a small p here does: below .05 both are rejected, which is the same as the 90 %
/// interval lying within ± margin.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Equivalence {
    /// The margin, in the metric's unit.
    pub margin: f64,
    /// The larger p of the two.
    pub p: f64,
}

impl Equivalence {
    /// The test of paired differences. `None` for fewer than two, or a margin that is not above 0.
    #[must_use]
    pub fn of(difference: &Interval, margin: f64) -> Option<Self> {
        if difference.n < 2 || !(margin > 0.0 && margin.is_finite()) {
            return None;
        }
        let error = difference.std / (difference.n as f64).sqrt();
        if error == 0.0 {
            let p = if difference.mean.abs() < margin {
                0.0
            } else {
                1.0
            };
            return Some(Self { margin, p });
        }
        let student = StudentsT::new(0.0, 1.0, (difference.n - 1) as f64).ok()?;
        let below = student.cdf(-(difference.mean + margin) / error);
        let above = student.cdf((difference.mean - margin) / error);
        let p = below.max(above).clamp(0.0, 1.0);
        Some(Self { margin, p })
    }

    /// Whether it is shown at the 5 % level that no difference beyond the margin is left.
    #[must_use]
    pub fn holds(self) -> bool {
        self.p < 0.05
    }
}
