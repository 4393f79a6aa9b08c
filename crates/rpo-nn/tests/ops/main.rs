//! Layers, optimisers and files of tensors against slow references and PyTorch. One binary for all: each costs a link and much of the same code once more.

mod attention;
mod conv;
mod elementwise;
mod files;
mod finite;
mod foreign_files;
mod frozen;
mod norms;
mod optim;
mod oracle;
mod tape;
mod threads;
mod weights;
