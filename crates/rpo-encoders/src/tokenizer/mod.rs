//! Text to token ids, exactly as by transformers' `CLIPTokenizer` and `BertTokenizer`.

mod clip;
mod saved;
mod special;
mod wordpiece;

pub use clip::ClipTokenizer;
pub use wordpiece::{TokenBatch, WordPiece};
