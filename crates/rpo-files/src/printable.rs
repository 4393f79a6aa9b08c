//! Text of foreign origin, made fit for a terminal and for a line of a message.
//!
//! Names of tensors, metadata and captions come from files of strangers. Printed as they are, control characters could move
//! the cursor, recolour or rewrite what was printed before, and marks of direction could turn a line around.

use std::borrow::Cow;

/// The most characters of a name in a message.
const NAME: usize = 160;

/// The most characters of a line of a message.
const LINE: usize = 2000;

/// `text` in one line: control characters, line breaks among them, and invisible characters of format and direction are
/// written as `\u{1b}`. Other text is returned as it is.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c.is_control() || is_invisible(c))
}

/// As [`printable`], but with its line breaks and tabs: for messages of several lines.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| {
        !matches!(c, '\n' | '\t') && (c.is_control() || is_invisible(c))
    })
}

/// JSON of the same value in which only characters that a terminal shows are written out.
pub fn printable_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c != '\n' && (c.is_control() || is_invisible(c)) {
            // Such characters are within strings only.
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// The lines of a message without the middle of those of more than 2000 characters, which quote a value of a file.
pub fn shortened_lines(text: &str) -> Cow<'_, str> {
    if text.lines().all(|line| line.len() <= LINE) {
        return Cow::Borrowed(text);
    }
    let lines: Vec<Cow<'_, str>> = text.split('\n').map(shortened).collect();
    Cow::Owned(lines.join("\n"))
}

/// A line without its middle if it is long.
fn shortened(line: &str) -> Cow<'_, str> {
    let count = line.chars().count();
    if count <= LINE {
        return Cow::Borrowed(line);
    }
    let start: String = line.chars().take(LINE / 2).collect();
    let end: String = line.chars().skip(count - LINE / 4).collect();
    Cow::Owned(format!("{start} … {end}"))
}

/// The start of a name as [`printable`] writes it: at most 160 characters, then `…`.
pub fn printable_name(name: &str) -> Cow<'_, str> {
    match name.char_indices().nth(NAME) {
        None => printable(name),
        Some((end, _)) => Cow::Owned(format!("{}…", printable(name.get(..end).unwrap_or(name)))),
    }
}

fn escaped(text: &str, hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if hidden(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Characters without a picture that change how the text around them is shown: separators of lines, marks of direction, joiners,
/// tags. Controls are not among them.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_act_on_a_terminal_is_written_out() {
        assert_eq!(
            printable("a\u{1b}[31mred\u{7}\r\n\tb"),
            r"a\u{1b}[31mred\u{7}\u{d}\u{a}\u{9}b"
        );
        // The eight-bit form of an escape sequence, a deletion, an override of direction, a separator of lines.
        assert_eq!(
            printable("\u{9b}2J\u{7f}\u{202e}gpj.exe\u{2066}\u{2028}"),
            r"\u{9b}2J\u{7f}\u{202e}gpj.exe\u{2066}\u{2028}"
        );
        assert_eq!(printable_lines("a\n\u{1b}b"), "a\n\\u{1b}b");
    }

    #[test]
    fn json_keeps_its_value() {
        let value = serde_json::json!({"a\u{202e}": "👨\u{200d}👩\u{9b}2J \u{e0041} plain ä"});
        let text = printable_json(&serde_json::to_string_pretty(&value).unwrap());
        assert!(
            text.contains(r"\u202e") && text.contains(r"\udb40\udc41"),
            "{text}"
        );
        assert!(!text.contains(|c| c != '\n' && (char::is_control(c) || is_invisible(c))));
        let again: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(again, value);
    }

    #[test]
    fn long_lines_lose_their_middle() {
        let long = format!("first\nbegin{}end\nlast\n", "ä".repeat(1_000_000));
        let said = shortened_lines(&long);
        assert!(said.starts_with("first\nbeginä") && said.ends_with("äend\nlast\n"));
        assert!(said.chars().count() < LINE);
    }

    #[test]
    fn other_text_is_left_alone() {
        for text in [
            "",
            "a photo of [v] dog",
            "ein Hündchen, 犬, 🐕",
            r"back\slash",
        ] {
            assert!(matches!(printable(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        let name = printable_name(&"é".repeat(1000)).into_owned();
        assert_eq!(name, "é".repeat(NAME) + "…");
        assert_eq!(printable_name("short\u{1b}"), r"short\u{1b}");
    }
}
