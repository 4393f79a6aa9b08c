//! Text to token ids, exactly as by transformers' `CLIPTokenizer` and `BertTokenizer`.
//!
//! Read: `tokenizer.json` of transformers 5, or `vocab.json` and `merges.txt` or `vocab.txt` of version 4, with the added and special
//! tokens of `tokenizer.json`, `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json`. Files that contradict each
//! other and tokenizers of other kinds are refused.

mod added;
mod clip;
mod config;
mod form;
mod merges;
mod older;
mod rows;
mod saved;
mod token;
mod vectors;
mod vocabulary;
mod wordpiece;

pub use clip::ClipTokenizer;
pub use wordpiece::{TokenBatch, WordPiece};
