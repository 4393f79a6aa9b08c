//! The mean of paired differences with its Student t interval.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// A mean with its 95 % interval and the p-value of the two-sided test of "the mean is 0".
///
/// Never NaN. With a single unit there is no spread: `interval` and `p` are `None`.
/// If all values are the same number, the interval has width zero; p is 1 if that number is 0, else 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Number of units.
    pub n: usize,
    /// Mean of the units' values.
    pub mean: f64,
    /// Standard deviation of the units' values (denominator n - 1); 0 for one unit.
    pub std: f64,
    /// Lower and upper end at 95 %.
    pub interval: Option<(f64, f64)>,
    /// Two-sided p.
    pub p: Option<f64>,
}

/// Why there is no mean.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PairedError {
    /// There is nothing to average.
    #[error("no values to compare: at least one pair is needed, two for an interval")]
    Empty,
    /// The two sides are of different length.
    #[error(
        "{0} values on one side and {1} on the other: a paired comparison needs the same units on both"
    )]
    Unpaired(usize, usize),
    /// A value is NaN or infinite.
    #[error("value {index} is {value}: only finite values can be compared")]
    NotFinite {
        /// Its position.
        index: usize,
        /// The value.
        value: f64,
    },
}

impl Interval {
    /// The mean of `values`, one value per unit.
    ///
    /// # Errors
    /// No value, or one that is not finite.
    pub fn of(values: &[f64]) -> Result<Self, PairedError> {
        if let Some((index, &value)) = values.iter().enumerate().find(|(_, v)| !v.is_finite()) {
            return Err(PairedError::NotFinite { index, value });
        }
        let n = values.len();
        if n == 0 {
            return Err(PairedError::Empty);
        }
        let mean = values.iter().sum::<f64>() / n as f64;
        if n == 1 {
            return Ok(Self {
                n,
                mean,
                std: 0.0,
                interval: None,
                p: None,
            });
        }
        if values.iter().all(|&v| v == values[0]) {
            // A separate case because rounding in the mean would leave a spread of 1e-17, and an arbitrary t.
            let mean = values[0];
            let p = if mean == 0.0 { 1.0 } else { 0.0 };
            return Ok(Self {
                n,
                mean,
                std: 0.0,
                interval: Some((mean, mean)),
                p: Some(p),
            });
        }
        let std = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1) as f64).sqrt();
        let error = std / (n as f64).sqrt();
        let student =
            StudentsT::new(0.0, 1.0, (n - 1) as f64).expect("n - 1 is at least 1, the scale is 1");
        let half = student.inverse_cdf(0.975) * error;
        let p = (2.0 * student.cdf(-(mean / error).abs())).clamp(0.0, 1.0);
        Ok(Self {
            n,
            mean,
            std,
            interval: Some((mean - half, mean + half)),
            p: Some(p),
        })
    }

    /// The mean of `after[i] - before[i]`.
    ///
    /// # Errors
    /// Sides of different length, no pair, or a value that is not finite.
    pub fn of_difference(after: &[f64], before: &[f64]) -> Result<Self, PairedError> {
        if after.len() != before.len() {
            return Err(PairedError::Unpaired(after.len(), before.len()));
        }
        let differences: Vec<f64> = after.iter().zip(before).map(|(a, b)| a - b).collect();
        Self::of(&differences)
    }

    /// Whether the interval excludes 0. False without an interval.
    #[must_use]
    pub fn excludes_zero(&self) -> bool {
        self.interval
            .is_some_and(|(low, high)| low > 0.0 || high < 0.0)
    }
}
