//! λ-Harmonic and related means, selection and stopping rules (pure f64), and the reward model.
//!
//! - [`mean`]: a picture's two scores become one reward (Eq. 5).
//! - [`select`]: which checkpoint of a trajectory is kept, and when it may stop.
//! - [`paired`]: the interval of a paired difference, Student t.
//! - [`alignment`]: ALIGN-I and ALIGN-T from embeddings.
//! - [`model`]: the encoder that makes the embeddings.
//!
//! Everything but the reward model is arithmetic on `f64`: no tensor, no file, no clock, no generator.

pub mod alignment;
pub mod mean;
pub mod model;
pub mod paired;
pub mod select;

pub use mean::{Lambda, LambdaOutOfRange, Mean, Score, ScoreOutOfRange, mean_reward};
