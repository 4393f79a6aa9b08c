//! Textual inversion with several vectors: `<my-toy>` stands for `<my-toy> <my-toy>_1 <my-toy>_2`.
//!
//! Source: `TextualInversionLoaderMixin._maybe_convert_prompt` of diffusers 0.42.

use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Replacements by token.
#[derive(Debug, Clone, Default)]
pub(super) struct Vectors(BTreeMap<String, String>);

impl Vectors {
    /// Of the texts of the added tokens.
    pub(super) fn new<'a>(added: impl IntoIterator<Item = &'a str>) -> Self {
        let added: HashSet<&str> = added.into_iter().collect();
        let whole = |token: &str| {
            let more = (1..).map(|i| format!("{token}_{i}"));
            let more = more.take_while(|name| added.contains(name.as_str()));
            more.fold(token.to_owned(), |all, name| format!("{all} {name}"))
        };
        let several = added
            .iter()
            .map(|token| ((*token).to_owned(), whole(token)));
        Self(several.filter(|(token, whole)| token != whole).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `text` with all vectors of the tokens that it holds; `tokens` are those that the tokenizer finds in it.
    pub(super) fn insert(&self, text: &str, tokens: &[String]) -> String {
        let tokens: BTreeSet<&String> = tokens.iter().collect();
        let found = tokens
            .into_iter()
            .filter_map(|token| self.0.get_key_value(token));
        found.fold(text.to_owned(), |text, (token, whole)| {
            text.replace(token.as_str(), whole)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Vectors;

    #[test]
    fn a_token_stands_for_all_its_vectors() {
        let vectors = Vectors::new(["<a>", "<a>_1", "<a>_2", "<b>", "<b>_2"]);
        let found = |text: &str, tokens: &[&str]| {
            vectors.insert(
                text,
                &tokens.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>(),
            )
        };
        assert_eq!(
            found("a <a> dog", &["a</w>", "<a>", "dog</w>"]),
            "a <a> <a>_1 <a>_2 dog"
        );
        assert_eq!(found("a <b> dog", &["<b>"]), "a <b> dog");
        assert_eq!(found("a dog", &["a</w>"]), "a dog");
        assert!(Vectors::new(["<b>", "<b>_2"]).is_empty());
    }
}
