//! TensorBoard event files: scalars and pictures.
//!
//! An event file is a sequence of TFRecords, each a protocol buffer `tensorflow.Event`
//! (`tensorflow/core/util/event.proto`, `tensorflow/core/framework/summary.proto`). Nothing here reads a
//! clock: the caller gives all times, in seconds since 1970.
//!
//! A file is only ever appended to, by the program that created it. Who goes on later creates another, which begins with the step
//! from which it replaces the earlier ones ([`EventWriter::restart`]).

mod event;
mod kept;
mod record;
mod writer;

pub use kept::Kept;
pub use writer::EventWriter;
