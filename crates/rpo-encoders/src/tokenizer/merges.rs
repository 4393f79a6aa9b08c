//! The merges of byte-level BPE, in the order of their rank.

use std::collections::HashSet;
use std::path::Path;

use candle_core::{Result, bail};

use super::vocabulary::Vocabulary;
use crate::folder;

/// Pairs of pieces that become one.
pub(super) type Merges = Vec<(String, String)>;

/// What CLIP's vocabulary has at the end of a word's last piece.
pub(super) const END_OF_WORD: &str = "</w>";

/// Reads `merges.txt`: two pieces a line; lines that begin with `#version` are not merges.
///
/// # Errors
/// If it is missing, or a line has not two pieces.
pub(super) fn read(dir: &Path, name: &str) -> Result<Merges> {
    let text = folder::read_plain(dir, name)?;
    let lines = text.trim_end_matches(['\n', '\r']).lines().enumerate();
    let lines = lines.filter(|(_, line)| !line.starts_with("#version"));
    lines
        .map(|(index, line)| match line.split_once(' ') {
            Some((a, b)) if !b.contains(' ') => Ok((a.to_owned(), b.to_owned())),
            _ => bail!(
                "{}, line {}: {line:?} is no merge, which is two pieces with one space between them",
                dir.join(name).display(),
                index + 1
            ),
        })
        .collect()
}

/// Checks that the merges are those of the vocabulary: their pieces and results are in it, and every token of several letters is
/// the result of one, except `other` ones and reserved names in angle or square brackets.
///
/// # Errors
/// With the file `path` of the merges and the first piece that does not fit.
pub(super) fn check(
    merges: &Merges,
    vocabulary: &Vocabulary,
    other: impl Fn(&str) -> bool,
    path: &Path,
) -> Result<()> {
    let path = path.display();
    let mut made = HashSet::new();
    for (index, (a, b)) in merges.iter().enumerate() {
        let whole = format!("{a}{b}");
        for piece in [a, b, &whole] {
            if !vocabulary.has(piece) {
                bail!(
                    "{path}, merge {}: {a:?} and {b:?} need the piece {piece:?}, which the vocabulary does not have\n  hint: copy vocabulary and merges from one model",
                    index + 1
                );
            }
        }
        made.insert(whole);
    }
    let unmade = vocabulary
        .iter()
        .filter(|(token, _)| !single(token) && !made.contains(*token) && !other(token))
        .min_by_key(|(_, id)| *id);
    if let Some((token, id)) = unmade {
        bail!(
            "{path}: none of its {} merges makes the token {token:?} (id {id}), so words would fall apart: the file is empty or cut short\n  hint: copy vocabulary and merges from one model",
            merges.len()
        );
    }
    Ok(())
}

/// Whether a token is a single letter or a reserved name.
fn single(token: &str) -> bool {
    let piece = token.strip_suffix(END_OF_WORD).unwrap_or(token);
    let reserved = |open, close| piece.starts_with(open) && piece.ends_with(close);
    piece.chars().count() <= 1 || reserved('<', '>') || reserved('[', ']')
}

/// The merges as the tokenizer uses them: of a pair that is there twice, the later one.
pub(super) fn effective(merges: &Merges) -> Vec<&(String, String)> {
    let mut seen = HashSet::new();
    let mut kept: Vec<_> = merges
        .iter()
        .rev()
        .filter(|pair| seen.insert(*pair))
        .collect();
    kept.reverse();
    kept
}
