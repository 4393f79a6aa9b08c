//! Encoders, tokenizers and processors against transformers. One binary for all: each costs a link and much of the same code once more.

mod folders;
mod micro;
mod processors;
mod support;
mod tiny;
mod token_forms;
mod token_refused;
mod tokenizers;
mod variants;
