//! Whether a text encoder and a tokenizer belong together: a row of its table for every id.

use std::path::Path;

use candle_core::{Result, bail};
use tokenizers::Tokenizer;

/// Rows beyond the tokens are taken for padding if their number is a multiple of this, the smallest `pad_to_multiple_of` in use.
const PADDED_TO: usize = 8;

/// Checks that the table of a text encoder, `rows` of them, fits the ids of the tokenizer in `dir`.
///
/// # Errors
/// If an id has no row. If there are more rows than ids: the names of tokens are lost, and a prompt that asks for one of them would
/// fall apart in silence; except for a table that was padded to a multiple of 8.
pub(super) fn check(tokenizer: &Tokenizer, dir: &Path, rows: usize, encoder: &Path) -> Result<()> {
    let vocabulary = tokenizer.get_vocab(true);
    let highest = vocabulary.iter().max_by_key(|(_, id)| **id);
    let Some((token, id)) = highest else {
        bail!("{}: the tokenizer has no token", dir.display());
    };
    let needed = *id as usize + 1;
    let (dir, encoder) = (dir.display(), encoder.display());
    if needed > rows {
        bail!(
            "{dir}: the token {token:?} has the id {id}, but the text encoder {encoder} has {rows} rows (`vocab_size`), for ids below {rows}\n  hint: tokenizer and text encoder must come from one model; after adding tokens in transformers, call resize_token_embeddings(len(tokenizer)) and save both"
        );
    }
    if needed < rows && !rows.is_multiple_of(PADDED_TO) {
        bail!(
            "{encoder} has rows for {rows} tokens (`vocab_size`), but the tokenizer {dir} names {needed}: the names of {} are missing, and a prompt with one of them would fall apart\n  hint: copy the tokenizer that belongs to the text encoder (added tokens stand in tokenizer.json or added_tokens.json); rows that no token needs go away with resize_token_embeddings(len(tokenizer))",
            rows - needed
        );
    }
    Ok(())
}
