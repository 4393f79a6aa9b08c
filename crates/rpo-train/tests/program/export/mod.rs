//! Whole models exported from a run: as a diffusers folder, as a single file, and import of one.

mod common;
mod folders;
mod single_file;
mod strangers;
mod verbs;
mod whole;
