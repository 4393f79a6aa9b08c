//! Weights from a cache of the Hugging Face hub, laid out as the Python package lays it out.
#![cfg(unix)]

mod cache;
mod common;
mod program;
