//! Scores pictures: how like the references, how like the prompt, how unlike each other.
//!
//! - [`metrics`]: the judges, and diversity.
//! - [`scorer`]: the judges as columns of a table; a new metric is a new [`scorer::Scorer`].
//! - [`reward`]: the encoder of the reward's pair, ALIGN-I and ALIGN-T.
//! - [`alignment`]: that pair from embeddings.
//!
//! Nothing here generates or trains, so anybody's pictures are scored on equal terms.

pub mod alignment;
pub mod metrics;
pub mod reward;
pub mod scorer;
