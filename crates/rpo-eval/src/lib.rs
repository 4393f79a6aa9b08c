//! Scores pictures: similarity to the references, similarity to the prompt, diversity.
//!
//! - [`metrics`]: the judges, and diversity.
//! - [`scorer`]: the judges as columns of a table; a new metric is a new [`scorer::Scorer`].
//! - [`masked`]: the masked identity of rendered subjects, without an encoder.
//! - [`reward`]: the encoder of the reward's pair, ALIGN-I and ALIGN-T.
//! - [`alignment`]: that pair from embeddings.
//!
//! Nothing here generates or trains, so pictures from any source are scored on equal terms.

pub mod alignment;
pub mod masked;
pub mod metrics;
pub mod reward;
pub mod scorer;
