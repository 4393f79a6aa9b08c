//! Rust source as a list of words and punctuation, enough for a rule about names.

/// A word or punctuation mark, and its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
}

impl Token {
    pub(crate) fn is(&self, text: &str) -> bool {
        self.text == text
    }

    pub(crate) fn is_word(&self) -> bool {
        self.text
            .starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

/// The tokens of `text` without comments, string literals, numbers, lifetimes, attributes and test-only code.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    without_attributes(&words(text))
}

fn words(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    let (mut found, mut line, mut i) = (Vec::new(), 1, 0);
    while i < chars.len() {
        let start = i;
        let end = match at(i) {
            '/' if at(i + 1) == '/' => (i..chars.len()).find(|&i| at(i) == '\n'),
            '/' if at(i + 1) == '*' => end_of_comment(&chars, i),
            '"' => end_of_text(&chars, i),
            'r' | 'b' | 'c' if raw_marks(&chars, i).is_some() => {
                let (quote, marks) = raw_marks(&chars, i).expect("just asked");
                (quote + 1..chars.len())
                    .find(|&i| at(i) == '"' && (1..=marks).all(|k| at(i + k) == '#'))
                    .map(|i| i + marks + 1)
            }
            'b' | 'c' if at(i + 1) == '"' => end_of_text(&chars, i + 1),
            '\'' if at(i + 1) == '\\' => {
                (i + 3..chars.len()).find(|&i| at(i) == '\'').map(|i| i + 1)
            }
            '\'' if at(i + 2) == '\'' => Some(i + 3),
            '\'' => (i + 1..chars.len()).find(|&i| !in_word(at(i))),
            c if in_word(c) => {
                let end = (i..chars.len()).find(|&i| !in_word(at(i)));
                let end = end.unwrap_or(chars.len());
                if !c.is_ascii_digit() {
                    let text = chars[i..end].iter().collect();
                    found.push(Token { text, line });
                }
                Some(end)
            }
            ':' if at(i + 1) == ':' => {
                let text = "::".to_owned();
                found.push(Token { text, line });
                Some(i + 2)
            }
            c => {
                if !c.is_whitespace() {
                    let text = c.to_string();
                    found.push(Token { text, line });
                }
                Some(i + 1)
            }
        };
        i = end.unwrap_or(chars.len());
        line += chars[start..i].iter().filter(|c| **c == '\n').count();
    }
    found
}

fn end_of_comment(chars: &[char], start: usize) -> Option<usize> {
    let (mut depth, mut i) = (0, start);
    while i + 1 < chars.len() {
        match (chars[i], chars[i + 1]) {
            ('/', '*') => (depth, i) = (depth + 1, i + 2),
            ('*', '/') => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            return Some(i);
        }
    }
    None
}

fn end_of_text(chars: &[char], quote: usize) -> Option<usize> {
    let mut i = quote + 1;
    while i < chars.len() {
        match chars[i] {
            '"' => return Some(i + 1),
            '\\' => i += 2,
            _ => i += 1,
        }
    }
    None
}

/// The quote and the number of `#` of a raw string that starts at `i`.
fn raw_marks(chars: &[char], i: usize) -> Option<(usize, usize)> {
    let before_r = usize::from(matches!(chars[i], 'b' | 'c'));
    if chars.get(i + before_r) != Some(&'r') {
        return None;
    }
    let first = i + before_r + 1;
    let marks = chars[first..].iter().take_while(|c| **c == '#').count();
    (chars.get(first + marks) == Some(&'"')).then_some((first + marks, marks))
}

fn without_attributes(all: &[Token]) -> Vec<Token> {
    let (mut kept, mut i) = (Vec::new(), 0);
    while i < all.len() {
        let inner = usize::from(all.get(i + 1).is_some_and(|t| t.is("!")));
        if !all[i].is("#") || !all.get(i + 1 + inner).is_some_and(|t| t.is("[")) {
            kept.push(all[i].clone());
            i += 1;
            continue;
        }
        let end = closing(all, i + 1 + inner);
        let words: Vec<&str> = all[i..end].iter().map(|t| t.text.as_str()).collect();
        i = end + 1;
        let of_tests = words.contains(&"test") && !words.ends_with(&["not", "(", "test", ")", ")"]);
        if words.starts_with(&["#", "[", "cfg", "("]) && of_tests {
            i = end_of_item(all, i);
        }
    }
    kept
}

/// Index of the bracket that closes the one at `open`.
pub(crate) fn closing(all: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (i, token) in all.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return i;
        }
    }
    all.len() - 1
}

/// Index after the item that starts at `start`.
fn end_of_item(all: &[Token], start: usize) -> usize {
    let mut i = start;
    while i < all.len() {
        match all[i].text.as_str() {
            ";" => return i + 1,
            "{" => return closing(all, i) + 1,
            "(" | "[" => i = closing(all, i) + 1,
            _ => i += 1,
        }
    }
    i
}

#[test]
fn words_are_told_from_comments_texts_and_tests() {
    let text = r##"
        //! use crate::comment;
        #[serde(default = "crate::attribute")]
        fn f<'a>(x: &'a str) -> char { /* a::b /* c */ d */ 'x'; '\''; "g::h \" i"; r#"j" k"#; b"l"; 'a' }
        #[cfg(test)] use crate::only_in_tests;
        #[cfg(all(test, not(feature = "x")))]
        mod tests { use super::*; }
        use crate::kept;"##;
    let words: Vec<String> = tokens(text).into_iter().map(|t| t.text).collect();
    let expected = "fn f < > ( x : & str ) - > char { ; ; ; ; ; } use crate :: kept ;";
    assert_eq!(words.join(" "), expected);
    assert_eq!(tokens(text).last().map(|t| t.line), Some(8));
}
