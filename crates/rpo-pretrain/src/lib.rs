//! The program that trains and scores the U-Net of the embedded model.
//!
//! Pictures and captions are StickerBench's, drawn during training ([`data`]); VAE and text encoder are frozen. The learning
//! rate is constant, so that training can always be continued; a release decays it on a copy of the state ([`cli`]).

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod base;
pub mod batch;
pub mod cli;
pub mod data;
pub mod judged;
pub mod meter;
pub mod saves;
pub mod score;
pub mod settings;
pub mod sheet;
pub mod state;
pub mod train;
pub mod vae;
