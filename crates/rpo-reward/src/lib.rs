//! λ-Harmonic and related means, selection and stopping rules: pure f64.
//!
//! - [`candidate`]: what is chosen from.
//! - [`mean`]: one reward from a picture's two scores (Eq. 5).
//! - [`optional`]: an absent number in files.
//! - [`select`]: which checkpoint of a trajectory is kept, and when the trajectory may stop.
//!
//! Everything is arithmetic on `f64`: no tensor, no file, no clock, no generator.

pub mod candidate;
pub mod mean;
pub mod optional;
pub mod select;

pub use candidate::{Candidate, Scale, ScaleOutOfRange, Variant};
pub use mean::{Lambda, LambdaOutOfRange, Mean, Score, ScoreOutOfRange, mean_reward};
