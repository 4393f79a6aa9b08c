//! What a run says: tables, the page, TensorBoard events. No model and no tensor.
//!
//! - [`table`]: arms x metrics with intervals and comparisons, as text, CSV and JSON.
//! - [`page`]: one self-contained HTML file.
//! - [`tensorboard`]: event files.

pub mod page;
mod render;
pub mod table;
pub mod tensorboard;
