//! LoRA against peft and diffusers: outputs, gradients, merged weights, and the files that programs exchange.
//! Golden values: `scripts/golden/lora.py`.

mod common;
mod files;
mod forms;
mod keys;
mod networks;
mod refusals;
mod round_trip;
mod strength;
mod text;
mod text_files;
