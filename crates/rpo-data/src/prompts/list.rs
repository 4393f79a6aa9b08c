//! Lists of prompts, as texts: a prompt on each line, or a JSON object on each line.

use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};
use rpo_files::nearest;
use serde::Deserialize;

use super::template::{check, reading};

/// Prompts of one list; DreamBench has 25.
pub const MOST_PROMPTS: usize = 10_000;
/// Bytes of a line.
const MOST_LINE: usize = 16 << 10;
/// Bytes of a prompt. Text encoders read some 300.
const MOST_PROMPT: usize = 2000;
/// Characters of a kind, which becomes the head of a table.
const MOST_KIND: usize = 40;

/// A prompt of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Its text, with a place for the class: `a {} in the snow`.
    pub template: String,
    /// What it asks for: `recontext`, `property`, `accessory`, `style`, `expression`, `outfit`, `view`, or any other word.
    pub kind: Option<String>,
    /// Only for living subjects (`true`), only for objects (`false`), or for every subject.
    pub live: Option<bool>,
    /// Its line, from 1.
    pub line: usize,
}

impl Prompt {
    /// Whether it is for living subjects, or for objects.
    pub fn is_for(&self, live: bool) -> bool {
        self.live.is_none_or(|only| only == live)
    }

    /// What prompts that are read alike have in common: `{}` is `{token} {class}`, and letters are small.
    pub fn reading(&self) -> String {
        reading(&self.template)
    }
}

/// How a list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A prompt on each line; `[kind]` on a line of its own is the kind of those below it. Lines that begin with `#` are comments.
    Lines,
    /// `{"prompt": "a {} in the snow", "kind": "recontext", "live": true}` on each line; `kind` and `live` may be left away.
    Rows,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    prompt: String,
    kind: Option<String>,
    live: Option<bool>,
}

/// The keys of [`Row`].
const KEYS: [&str; 3] = ["prompt", "kind", "live"];

/// Reads a list. `name` is that of its file, for errors.
///
/// # Errors
/// The first prompt without a place for the class, with other braces, unprintable characters or given twice; an unknown key; an
/// empty list or one of more than [`MOST_PROMPTS`]; by file and line.
pub fn parse(name: &str, text: &str, form: Form) -> Result<Vec<Prompt>> {
    let mut found: Vec<Prompt> = Vec::new();
    let mut before: HashMap<String, Vec<usize>> = HashMap::new();
    let mut heading = None;
    for (i, line) in text.lines().enumerate() {
        let at = || format!("{name}:{}", i + 1);
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        ensure!(
            line.len() <= MOST_LINE,
            "{}: {} bytes, of at most {MOST_LINE}\n  hint: one prompt on each line",
            at(),
            line.len()
        );
        let (template, kind, live) = match form {
            Form::Lines => {
                if let Some(kind) = self::heading(line) {
                    heading = Some(checked_kind(kind).with_context(at)?);
                    continue;
                }
                (line.to_owned(), heading.clone(), None)
            }
            Form::Rows => {
                let row: Row = serde_json::from_str(line)
                    .map_err(|e| anyhow::anyhow!("{}: {}", at(), wrong_row(&e.to_string())))?;
                let kind = row.kind.as_deref().map(checked_kind).transpose();
                (
                    row.prompt.trim().to_owned(),
                    kind.with_context(at)?,
                    row.live,
                )
            }
        };
        let prompt = Prompt {
            template,
            kind,
            live,
            line: i + 1,
        };
        check_prompt(&prompt, form).with_context(at)?;
        let same = before.entry(prompt.reading()).or_default();
        let meets = |other: &&usize| {
            let other = found[**other].live;
            other.is_none() || live.is_none() || other == live
        };
        if let Some(first) = same.iter().find(meets) {
            bail!(
                "{}: the prompt {:?} is given on line {} already\n  hint: leave one of them away; more pictures of a prompt are `pictures_per_prompt`",
                at(),
                prompt.template,
                found[*first].line
            );
        }
        same.push(found.len());
        found.push(prompt);
        ensure!(
            found.len() <= MOST_PROMPTS,
            "{}: more than {MOST_PROMPTS} prompts, the most there may be",
            at()
        );
    }
    ensure!(
        !found.is_empty(),
        "{name}: no prompt in it\n  hint: one on each line, such as: a {{}} in the snow"
    );
    Ok(found)
}

/// Whether a line of a list holds no prompt: it is empty, a comment or a heading.
pub fn is_remark(line: &str) -> bool {
    let line = line.trim();
    line.is_empty()
        || line.starts_with('#')
        || heading(line).is_some_and(|k| checked_kind(k).is_ok())
}

/// The kind in `[kind]`, which is the whole line.
fn heading(line: &str) -> Option<&str> {
    let inner = line.strip_prefix('[')?.strip_suffix(']')?;
    (!inner.contains(['[', ']', '{', '}'])).then_some(inner.trim())
}

fn checked_kind(kind: &str) -> Result<String> {
    let plain = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    let length = kind.chars().count();
    if length == 0 || length > MOST_KIND || !kind.chars().all(plain) {
        bail!(
            "the kind {kind:?} is no word\n  hint: letters, digits, - and _, {MOST_KIND} at most: recontext, property, accessory, style, expression, outfit, view, or another"
        );
    }
    Ok(kind.to_owned())
}

fn check_prompt(prompt: &Prompt, form: Form) -> Result<()> {
    let template = &prompt.template;
    ensure!(
        template.len() <= MOST_PROMPT,
        "a prompt of {} bytes, of at most {MOST_PROMPT}\n  hint: one prompt on each line",
        template.len()
    );
    if let Some(odd) = template.chars().find(|c| c.is_control()) {
        bail!(
            "the prompt {template:?} has a character that is no text, {odd:?}\n  hint: remove it"
        );
    }
    check(template).map_err(|e| match form {
        Form::Lines if template.starts_with("{\"") => {
            anyhow::anyhow!("{e:#}\n  hint: a file with a JSON object on each line ends in .jsonl")
        }
        _ => e,
    })
}

/// serde's message about a row, with a hint.
fn wrong_row(message: &str) -> String {
    // Its line is always the first: rows are read one by one.
    let message = message.replace("at line 1 column", "at column");
    let unknown = message.strip_prefix("unknown field `");
    if let Some((key, _)) = unknown.and_then(|rest| rest.split_once('`')) {
        let hint = match nearest(key, &KEYS) {
            Some(known) => format!("did you mean `{known}`?"),
            None => format!("known here: {}", KEYS.join(", ")),
        };
        return format!("unknown key `{key}`\n  hint: {hint}");
    }
    format!(
        "{message}\n  hint: {{\"prompt\": \"a {{}} in the snow\", \"kind\": \"recontext\"}}; `live` is true, false or left away"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str, form: Form) -> String {
        let list = parse("p", text, form);
        list.err().map_or_else(String::new, |e| format!("{e:#}"))
    }

    #[test]
    fn lines_have_headings_and_comments() {
        let text = "# mine\r\na {} here\r\n\r\n[style]\r\n  a {} in oil  \r\na {token} old {class}\r\n[My-kind_2]\na {class}";
        let list = parse("p", text, Form::Lines).unwrap();
        let of = |p: &Prompt| {
            (
                p.template.clone(),
                p.kind.clone().unwrap_or_default(),
                p.line,
            )
        };
        let all: Vec<_> = list.iter().map(of).collect();
        let want = [
            ("a {} here", "", 2),
            ("a {} in oil", "style", 5),
            ("a {token} old {class}", "style", 6),
            ("a {class}", "My-kind_2", 8),
        ];
        assert_eq!(all, want.map(|(p, k, l)| (p.to_owned(), k.to_owned(), l)));
        assert!(list.iter().all(|p| p.is_for(true) && p.is_for(false)));
    }

    #[test]
    fn rows_say_whom_they_are_for() {
        let text = "{\"prompt\": \"a {}\", \"live\": true}\n\n{\"prompt\": \"a {}\", \"live\": false, \"kind\": \"view\"}\n";
        let list = parse("p", text, Form::Rows).unwrap();
        assert_eq!((list[0].live, list[1].live), (Some(true), Some(false)));
        assert!(list[0].is_for(true) && !list[0].is_for(false));
        assert_eq!(list[1].kind.as_deref(), Some("view"));
        assert_eq!(list[1].line, 3);
    }

    #[test]
    fn remarks_are_told_from_prompts() {
        for line in ["", " \t", "# a {}", "[view]", " [my-kind] "] {
            assert!(is_remark(line), "{line:?}");
        }
        for line in ["a {}", "[V] dog", "[a dog]", "a [V]", "[V] and [W]"] {
            assert!(!is_remark(line), "{line:?}");
        }
    }

    #[test]
    fn every_fault_names_its_line_and_a_hint() {
        use Form::{Lines, Rows};
        let [long, longer] = [MOST_PROMPT, MOST_LINE].map(|n| format!("a {{}} {}", "x".repeat(n)));
        let kind = format!("[{}]\na {{}}", "k".repeat(41));
        for (text, form, words) in [
            ("a {}\na dog", Lines, ["p:2: ", "\"a dog\""]),
            ("a {} on a {place}", Lines, ["p:1: ", "{place}"]),
            ("a {0} {1} here", Lines, ["p:1: ", "{token}"]),
            ("a {}\n# x\nA  {token} {CLASS}", Lines, ["p:3: ", "CLASS"]),
            ("A {}\n# x\na  {token} {class}", Lines, ["p:3: ", "line 1"]),
            ("[two words]\na {}", Lines, ["p:1: ", "two words"]),
            ("[]\na {}", Lines, ["p:1: ", "no word"]),
            (&kind, Lines, ["p:1: ", "no word"]),
            ("a {}\tb", Lines, ["p:1: ", "'\\t'"]),
            (&long, Lines, ["p:1: ", "2000"]),
            (&longer, Lines, ["p:1: ", "16384"]),
            ("# nothing\n\n", Lines, ["p: ", "no prompt"]),
            ("{\"prompt\": \"a {}\"}", Lines, ["p:1: ", ".jsonl"]),
            ("\n{\"promt\": \"a {}\"}", Rows, ["p:2: ", "`prompt`?"]),
            (
                "{\"zzz\": 1}",
                Rows,
                ["p:1: ", "known here: prompt, kind, live"],
            ),
            (
                "{\"kind\": \"view\"}",
                Rows,
                ["p:1: ", "missing field `prompt`"],
            ),
            (
                "{\"prompt\": \"a {}\", \"live\": 1}",
                Rows,
                ["p:1: ", "`live` is true"],
            ),
            (
                "{\"prompt\": \"a {}\", \"prompt\": \"b {}\"}",
                Rows,
                ["p:1: ", "duplicate"],
            ),
            (
                "{\"prompt\": \"a {}\", \"kind\": \"\"}",
                Rows,
                ["p:1: ", "no word"],
            ),
            ("a {}", Rows, ["p:1: ", "column 1"]),
            (
                "{\"prompt\": \"a {}\", \"live\": true}\n{\"prompt\": \"a {}\"}",
                Rows,
                ["p:2: ", "line 1"],
            ),
        ] {
            let said = said(text, form);
            for word in words.into_iter().chain(["\n  hint: "]) {
                assert!(said.contains(word), "{text}: no `{word}` in: {said}");
            }
        }
        let many: String = (0..=MOST_PROMPTS)
            .map(|i| format!("a {{}} {i}\n"))
            .collect();
        assert!(said(&many, Lines).starts_with("p:10001: more than 10000"));
    }
}
