//! LoRA against peft and diffusers: outputs, gradients, merged weights, and the files that programs exchange.
//! Golden values: `scripts/golden/lora.py`.

#[path = "../support/mod.rs"]
mod support;

mod common;
mod files;
mod keys;
mod networks;
mod round_trip;
