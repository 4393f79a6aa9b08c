//! DisenBooth: an image adapter beside a LoRA.

mod gradients;
mod run;
mod step;
