//! Weights from a cache of the Hugging Face hub in the layout of the Python package.
#![cfg(unix)]

mod cache;
mod common;
mod program;
