//! Statistics whose unit is the subject: averages, paired comparisons, Holm's correction, the paper's standard deviation.
//!
//! Everything here is arithmetic on `f64`: no tensor, no file, no clock, no generator.

mod column;
mod compare;
mod paired;

pub use column::Column;
pub use compare::{Comparison, SameCheckpoint, Sample, by_subject, compare, holm, paper_std};
pub use paired::{Interval, PairedError};
