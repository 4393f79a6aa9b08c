//! Statistics whose unit is the subject: averages, paired comparisons by Student and by permutation, equivalence, Holm's correction,
//! the paper's standard deviation.
//!
//! Everything here is arithmetic on `f64`: no tensor, no file, no clock, no generator.

mod column;
mod compare;
mod equivalence;
mod paired;
mod permutation;

pub use column::Column;
pub use compare::{Comparison, SameCheckpoint, Sample, Units, by_subject, holm, paper_std, units};
pub use equivalence::Equivalence;
pub use paired::{Interval, PairedError};
pub use permutation::{DRAWS, EXACT, sign_flip};
