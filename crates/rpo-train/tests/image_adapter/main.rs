//! DisenBooth: an image adapter beside a LoRA.

#[path = "../checkpoints/mod.rs"]
mod checkpoints;
mod gradients;
#[path = "../home/mod.rs"]
mod home;
mod run;
mod step;
