//! Whole models written from a run: as a diffusers folder, as a single file, and the way back from one.

mod common;
mod folders;
mod single_file;
mod strangers;
