//! Statistics since the last line of progress.

use std::time::{Duration, Instant};

/// Sums since a step.
pub struct Meter {
    since: Instant,
    step: u64,
    sum: f64,
    count: usize,
    norms: f64,
    steps: usize,
    data: f64,
}

impl Meter {
    /// Starts at `step`.
    pub fn new(step: u64) -> Self {
        Self {
            since: Instant::now(),
            step,
            sum: 0.,
            count: 0,
            norms: 0.,
            steps: 0,
            data: 0.,
        }
    }

    /// Minutes so far.
    pub fn minutes(&self) -> f64 {
        self.since.elapsed().as_secs_f64() / 60.
    }

    /// Adds time spent on windows and batches.
    pub fn add_data(&mut self, time: Duration) {
        self.data += time.as_secs_f64();
    }

    /// Adds a step: its samples' errors and the norm of its gradients.
    pub fn take(&mut self, errors: &[f32], norm: f64) {
        self.sum += errors.iter().map(|&e| f64::from(e)).sum::<f64>();
        self.count += errors.len();
        self.norms += norm;
        self.steps += 1;
    }

    /// Mean error of the samples, if any.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }

    /// Mean norm of the gradients.
    pub fn norm(&self) -> f64 {
        self.norms / self.steps.max(1) as f64
    }

    /// Fraction of the time spent on windows and batches.
    pub fn data_share(&self) -> f64 {
        self.data / 60. / self.minutes().max(1e-9)
    }

    /// Steps per minute up to `step`.
    pub fn steps_per_minute(&self, step: u64) -> f64 {
        (step - self.step) as f64 / self.minutes().max(1e-9)
    }
}
