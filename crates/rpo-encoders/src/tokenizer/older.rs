//! `vocab.json`, `merges.txt`, `vocab.txt` beside a `tokenizer.json`: both must say the same.

use std::path::Path;

use candle_core::{Result, bail};

use super::added::AddedTokens;
use super::merges::{self, Merges};
use super::saved::{self, Saved};
use super::vocabulary::Vocabulary;

const HINT: &str = "transformers 5 reads tokenizer.json and older programs the other file: delete the one that is not the text encoder's";

/// Checks a vocabulary from `file` against the one of `tokenizer.json`; either may hold added tokens.
///
/// # Errors
/// With both files and the first token that differs.
pub(super) fn same_vocabulary(
    older: &Vocabulary,
    file: &str,
    saved: &Saved,
    added: &AddedTokens,
) -> Result<()> {
    let new = &saved.vocabulary;
    let lacks = |(token, id): &(&str, u32), other: &Vocabulary| {
        other.id(token) != Some(*id) && !(other.id(token).is_none() && added.lists(token, *id))
    };
    let old_only = older.iter().filter(|pair| lacks(pair, new));
    let new_only = new.iter().filter(|pair| lacks(pair, older));
    if let Some((token, _)) = old_only
        .chain(new_only)
        .min_by_key(|(token, id)| (*id, *token))
    {
        let show =
            |id: Option<u32>| id.map_or_else(|| "no id".to_owned(), |id| format!("the id {id}"));
        bail!(
            "{}: the token {token:?} has {} there and {} in {file}\n  hint: {HINT}",
            saved.path.display(),
            show(new.id(token)),
            show(older.id(token))
        );
    }
    Ok(())
}

/// Checks merges from `file` against those of `tokenizer.json`.
///
/// # Errors
/// With both files and the first merge that differs.
pub(super) fn same_merges(older: &Merges, file: &str, saved: &Saved, dir: &Path) -> Result<()> {
    let (old, new) = (merges::effective(older), merges::effective(&saved.merges));
    if old == new {
        return Ok(());
    }
    let place = old.iter().zip(&new).position(|(a, b)| a != b);
    let place = place.unwrap_or(old.len().min(new.len()));
    bail!(
        "{}: {} merges, and {} in {}; they differ from merge {} on\n  hint: {HINT}",
        dir.join(file).display(),
        old.len(),
        new.len(),
        saved::FILE,
        place + 1
    )
}
