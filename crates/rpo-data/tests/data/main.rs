//! Subjects, pictures, prompts and random streams. One binary for all: each costs a link and much of the same code once more.

mod augment;
mod class_folders;
mod dataset;
mod folders;
mod forms;
mod identity;
mod masks;
mod picture;
mod prompts;
mod random;
mod splits;
mod stickers;
mod subject;
