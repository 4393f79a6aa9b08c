//! Where a subject's token stands in a text that was written by hand.

use std::ops::Range;

/// The places of `token` in `text`, as words of their own, ignoring case as text encoders do: `sks` is not in "he asks". White space
/// around the token does not count; an empty token is nowhere.
///
/// ```
/// use rpo_data::prompts::token_places;
/// assert_eq!(token_places("[V] asks, a [v]", "[v]"), [0..3, 12..15]);
/// ```
pub fn token_places(text: &str, token: &str) -> Vec<Range<usize>> {
    let token = token.trim();
    let mut found = Vec::new();
    if token.is_empty() {
        return found;
    }
    let within = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let mut free = 0;
    for (start, _) in text.char_indices() {
        if start < free {
            continue;
        }
        let Some(length) = same_start(&text[start..], token) else {
            continue;
        };
        let end = start + length;
        let before = text[..start].chars().next_back();
        let after = text[end..].chars().next();
        let joined = (within(before) && within(token.chars().next()))
            || (within(after) && within(token.chars().next_back()));
        if !joined {
            found.push(start..end);
            free = end;
        }
    }
    found
}

/// A text without its token, each removed with one space beside it. `{token}` and the like stay, also where the token is called so.
///
/// ```
/// use rpo_data::prompts::without_token;
/// assert_eq!(without_token("a photo of [v] dog", "[V]"), "a photo of dog");
/// assert_eq!(without_token("a dog, [v]", "[v]"), "a dog,");
/// ```
pub fn without_token(text: &str, token: &str) -> String {
    let mut text = text.to_owned();
    for place in token_places(&text, token).into_iter().rev() {
        if text[..place.start].ends_with('{') && text[place.end..].starts_with('}') {
            continue;
        }
        let space = |end: bool| match end {
            true => text[place.end..].starts_with(' '),
            false => text[..place.start].ends_with(' '),
        };
        let range = match (space(true), space(false)) {
            (true, _) => place.start..place.end + 1,
            (false, true) => place.start - 1..place.end,
            (false, false) => place,
        };
        text.replace_range(range, "");
    }
    text
}

/// The length of the prefix of `text` that equals `token`, ignoring case.
fn same_start(text: &str, token: &str) -> Option<usize> {
    let mut rest = text.char_indices();
    for wanted in token.chars() {
        let (_, found) = rest.next()?;
        if found != wanted && !found.to_lowercase().eq(wanted.to_lowercase()) {
            return None;
        }
    }
    Some(rest.next().map_or(text.len(), |(i, _)| i))
}

#[cfg(test)]
mod tests {
    use super::token_places;

    #[test]
    fn a_token_is_a_word_of_its_own() {
        let first = |text, token| token_places(text, token).first().map(|place| place.end);
        assert_eq!(first("a photo of [v] dog", "[v]"), Some(14));
        assert_eq!(first("a photo of [V]dog", "[v]"), Some(14));
        assert_eq!(first("Sks dog", "sks"), Some(3));
        assert_eq!(first("he asks, sks", " sks "), Some(12));
        assert_eq!(first("ohwx", "ohwx"), Some(4));
        for without in ["a dog", "he asks", "skss", "", "ein süßer Hund"] {
            assert_eq!(first(without, "sks"), None, "{without}");
        }
        assert_eq!(first("für sks", "sks"), Some(8));
        assert_eq!(
            token_places("a dog", "").len() + token_places("a dog", " ").len(),
            0
        );
    }

    #[test]
    fn every_place_counts_once() {
        assert_eq!(token_places("[v][v] .* [v]", "[v]"), [0..3, 3..6, 10..13]);
        assert_eq!(token_places("aXbaXb", ".*"), []);
        assert_eq!(token_places("a .* dog .*", ".*"), [2..4, 9..11]);
        assert_eq!(token_places("-----", "--"), [0..2, 2..4]);
    }
}
