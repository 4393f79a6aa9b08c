//! Networks, samplers and checkpoints against diffusers. One binary for all: each costs a link and much of the same code once more.

mod batches;
mod checkpoint;
mod lora;
mod pipeline;
mod reward_guidance;
mod sampling;
mod schedule;
mod solvers;
mod support;
mod text_gradients;
mod threads;
mod unet;
mod unet_keys;
mod vae;
