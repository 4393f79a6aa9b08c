//! λ-Harmonic and related means, selection and stopping rules: pure f64.
//!
//! - [`mean`]: a picture's two scores become one reward (Eq. 5).
//! - [`optional`]: how files write that there is no number.
//! - [`select`]: which checkpoint of a trajectory is kept, and when it may stop.
//!
//! Everything is arithmetic on `f64`: no tensor, no file, no clock, no generator.

pub mod mean;
pub mod optional;
pub mod select;

pub use mean::{Lambda, LambdaOutOfRange, Mean, Score, ScoreOutOfRange, mean_reward};
