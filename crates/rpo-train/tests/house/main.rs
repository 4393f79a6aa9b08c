//! The rules of the house, read from the workspace itself.

mod circles;
mod floors;
mod imports;
mod length;
mod metadata;
mod source;
