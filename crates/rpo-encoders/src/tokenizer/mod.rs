//! Text to token ids, exactly as transformers' `CLIPTokenizer` and `BertTokenizer` make them.

mod clip;
mod saved;
mod special;
mod wordpiece;

pub use clip::ClipTokenizer;
pub use wordpiece::{TokenBatch, WordPiece};
