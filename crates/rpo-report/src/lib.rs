//! Reports of a run: tables, the page, TensorBoard events. No model and no tensor.
//!
//! - [`collect`]: all of these from a run folder.
//! - [`table`]: arms x metrics with intervals and comparisons, as text, CSV and JSON.
//! - [`page`]: one self-contained HTML file.
//! - [`tensorboard`]: event files.

pub mod collect;
pub mod page;
mod render;
pub mod table;
pub mod tensorboard;
