//! The house rules, checked on the workspace itself.

mod circles;
mod floors;
mod imports;
mod length;
mod licences;
mod metadata;
mod source;
