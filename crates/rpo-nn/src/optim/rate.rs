//! Learning rates without a fixed horizon: warm-up, constant, and a decay that begins for a release.

/// Linear up to `peak` over `warmup` steps, then `peak`, and linear down to 0 over the steps of `decay` (the schedule
/// "warm-up, stable, decay": Hägele et al. 2024). A run without a decay can always be continued, and a copy of any of its states
/// can be decayed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// The constant rate.
    pub peak: f64,
    /// Steps of the warm-up; 0 for none.
    pub warmup: u64,
    /// First step of the decay, and its number of steps.
    pub decay: Option<(u64, u64)>,
}

impl Rate {
    /// The rate of step `step`, counted from 0. The first step of a warm-up has `peak / warmup`, the last step of a decay
    /// `peak / steps`; 0 after it.
    pub fn at(&self, step: u64) -> f64 {
        let warm = match self.warmup {
            0 => 1.,
            n => ((step + 1) as f64 / n as f64).min(1.),
        };
        let left = match self.decay {
            Some((from, steps)) if step >= from => {
                1. - ((step - from) as f64 / steps.max(1) as f64).min(1.)
            }
            _ => 1.,
        };
        self.peak * warm * left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn up_along_and_down() {
        let rate = Rate {
            peak: 2.,
            warmup: 4,
            decay: Some((10, 5)),
        };
        let at = |s| rate.at(s);
        assert_eq!([at(0), at(1), at(3), at(4), at(9)], [0.5, 1., 2., 2., 2.]);
        assert_eq!([at(10), at(11), at(15), at(99)], [2., 1.6, 0., 0.]);
        let flat = Rate {
            peak: 1.,
            warmup: 0,
            decay: None,
        };
        assert_eq!([flat.at(0), flat.at(1_000_000)], [1., 1.]);
    }
}
