//! Suggestions for unknown words.

/// The known word most similar to `word`, if any is similar.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let scores = known.iter().map(|k| (strsim::jaro_winkler(word, k), *k));
    let (score, name) = scores.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (score > 0.7).then_some(name)
}
