//! Every operation on the GPU against the same on the CPU: values and gradients, f32 and bf16. Without a GPU these tests print a
//! note and pass.

mod compare;
mod operations;
mod training;
