//! Scores folders of pictures and compares arms: metrics, statistics, tables.
//!
//! - [`metrics`]: how like the references, how like the prompt, how unlike each other.
//! - [`stats`]: averages by subject, paired comparisons, Holm's correction, the paper's standard deviation.
//! - [`table`]: arms x metrics, as text, CSV and JSON.
//!
//! Nothing here generates or trains, so anybody's pictures are scored on equal terms.

pub mod metrics;
mod render;
pub mod stats;
pub mod table;
