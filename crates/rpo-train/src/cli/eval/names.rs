//! Which of several prompts a picture's name means.
//!
//! A wrong guess scores pictures against other prompts without a sign of it, so a name that may be read in two ways is refused.

use anyhow::{Result, bail};

/// A pattern of paths below the folder of pictures, given by `--names`: `{prompt}` is the prompt's number, `{subject}` the
/// subject's name, `*` anything within a name. The ending may be left away.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Prompt,
    Subject,
    Any,
}

impl Pattern {
    /// # Errors
    /// A pattern without `{prompt}`, or with another placeholder.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let hint =
            "hint: for example '{subject}_{prompt}.png', 'prompt-{prompt}-*' or '{prompt}/*'";
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let known = [
                ("{prompt}", Part::Prompt),
                ("{subject}", Part::Subject),
                ("*", Part::Any),
            ];
            if let Some((word, part)) = known.into_iter().find(|(word, _)| rest.starts_with(word)) {
                parts.push(part);
                rest = &rest[word.len()..];
            } else if matches!(first, '{' | '}') {
                bail!(
                    "--names {text}: only {{prompt}}, {{subject}} and * stand for something\n  {hint}"
                );
            } else {
                match parts.last_mut() {
                    Some(Part::Text(before)) => before.push(first),
                    _ => parts.push(Part::Text(first.to_string())),
                }
                rest = &rest[first.len_utf8()..];
            }
        }
        if parts.iter().filter(|part| **part == Part::Prompt).count() != 1 {
            bail!("--names {text}: {{prompt}} must stand in it once\n  {hint}");
        }
        Ok(Self {
            text: text.to_owned(),
            parts,
        })
    }

    /// The number of a picture's prompt.
    ///
    /// # Errors
    /// A path that the pattern does not describe, or in more than one way.
    pub(super) fn number(&self, file: &str, subject: &str) -> Result<usize> {
        let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
        let mut found = Vec::new();
        for name in [file, stem] {
            matches(&self.parts, name, subject, None, &mut found);
        }
        found.sort_unstable();
        found.dedup();
        match found.as_slice() {
            [one] => Ok(*one),
            [] => bail!("--names {} does not describe it", self.text),
            [a, b, ..] => bail!(
                "--names {} describes it with number {a} and with {b}",
                self.text
            ),
        }
    }
}

/// Collects the numbers with which `parts` describe the whole of `name`.
fn matches(
    parts: &[Part],
    name: &str,
    subject: &str,
    number: Option<usize>,
    found: &mut Vec<usize>,
) {
    let Some((part, later)) = parts.split_first() else {
        found.extend(number.filter(|_| name.is_empty()));
        return;
    };
    match part {
        Part::Text(text) => {
            if let Some(rest) = name.strip_prefix(text.as_str()) {
                matches(later, rest, subject, number, found);
            }
        }
        Part::Subject => {
            if let Some(rest) = name.strip_prefix(subject) {
                matches(later, rest, subject, number, found);
            }
        }
        Part::Prompt => {
            // All the digits: half a number is none.
            let end = name
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(name.len());
            if let Ok(number) = name[..end].parse() {
                matches(later, &name[end..], subject, Some(number), found);
            }
        }
        Part::Any => {
            let end = name.find('/').unwrap_or(name.len());
            let cuts = (0..=end).filter(|i| name.is_char_boundary(*i));
            for cut in cuts {
                // A number does not begin in the middle of its digits.
                let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
                let inside =
                    digit(name[..cut].chars().next_back()) && digit(name[cut..].chars().next());
                if !(inside && later.first() == Some(&Part::Prompt)) {
                    matches(later, &name[cut..], subject, number, found);
                }
            }
        }
    }
}

/// The numbers in a name that may be a prompt's: those that stand alone between `_`, `-`, spaces, dots and brackets, without the
/// subject's name. "dog6", "v2", "sd15", "512x512" and "seed1" hold none. A number after the word "prompt" is the only one; so is
/// the one after "seed" and its number, as `generate` writes it.
pub(super) fn numbers(name: &str, subject: &str) -> Vec<usize> {
    let name = name.to_lowercase();
    let subject = subject.to_lowercase();
    let bounded = |place: usize| {
        let after = name[place + subject.len()..].chars().next();
        let before = name[..place].chars().next_back();
        let word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        !word(before) && !word(after)
    };
    let place = (!subject.is_empty()).then(|| {
        name.match_indices(&subject)
            .map(|(i, _)| i)
            .find(|i| bounded(*i))
    });
    let without = match place.flatten() {
        Some(place) => format!("{} {}", &name[..place], &name[place + subject.len()..]),
        None => name.clone(),
    };
    let fields: Vec<&str> = without
        .split(|c: char| !c.is_alphanumeric())
        .filter(|field| !field.is_empty())
        .collect();
    let alone = |field: &str| -> Option<usize> {
        field
            .bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| field.parse().ok())?
    };
    let named: Vec<usize> = (fields.iter().enumerate())
        .filter_map(|(i, field)| match field.strip_prefix("prompt") {
            Some("") => fields.get(i + 1).and_then(|next| alone(next)),
            Some(number) => alone(number),
            None => None,
        })
        .collect();
    if !named.is_empty() {
        return named;
    }
    let seeded = fields.windows(3).find_map(|three| match three {
        ["seed", seed, prompt] if alone(seed).is_some() => alone(prompt),
        _ => None,
    });
    if let Some(prompt) = seeded {
        return vec![prompt];
    }
    // What follows these words is theirs.
    let owners = [
        "seed", "step", "sample", "img", "image", "picture", "v", "version", "epoch", "px", "cfg",
    ];
    let mut found = Vec::new();
    for (i, field) in fields.iter().enumerate() {
        let owned = i > 0 && owners.contains(&fields[i - 1]);
        found.extend(alone(field).filter(|_| !owned));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_stand_alone() {
        for (name, expected) in [
            ("prompt-03-1", vec![3]),
            ("prompt03_seed_7", vec![3]),
            ("step-120-seed-0-03-a-dog-with-2-balls-1", vec![3]),
            ("seed-0-03-a-dog-0", vec![3]),
            ("12", vec![12]),
            ("dog6_00", vec![0]),
            ("sd15_03", vec![3]),
            ("v2-03", vec![3]),
            ("512x512_03", vec![3]),
            ("00_seed1", vec![0]),
            ("00 (seed 1)", vec![0]),
            ("dog6-00", vec![0]),
            ("0_a", vec![0]),
            ("IMG_20240105_123456", vec![123_456]),
            ("03-1", vec![3, 1]),
            ("snow", vec![]),
            ("dog6", vec![]),
        ] {
            assert_eq!(numbers(name, "rex"), expected, "{name}");
        }
        assert_eq!(numbers("dog_6_03", "dog_6"), [3]);
        assert_eq!(numbers("DOG-6 03", "dog-6"), [3]);
        assert_eq!(numbers("dog6_03", "6"), [3]);
    }

    #[test]
    fn patterns() {
        let number =
            |pattern: &str, file: &str| Pattern::parse(pattern).unwrap().number(file, "dog6");
        for (pattern, file, expected) in [
            ("{subject}_{prompt}.png", "dog6_24.png", 24),
            ("{subject}_{prompt}", "dog6_03.jpg", 3),
            ("*_{prompt}_*", "sd15_03_seed1.png", 3),
            ("{prompt}/*", "07/0.png", 7),
            ("*-{prompt}/*.png", "dog6-07/12.png", 7),
            ("*{prompt}.png", "a12.png", 12),
            ("{prompt}*", "12é.png", 12),
        ] {
            assert_eq!(number(pattern, file).unwrap(), expected, "{pattern} {file}");
        }
        let error = |pattern, file| number(pattern, file).unwrap_err().to_string();
        assert!(error("{subject}_{prompt}", "cat_03.png").contains("does not describe"));
        assert!(error("*_{prompt}_*", "a_1_2_b.png").contains("number 1 and with 2"));
        assert!(error("{prompt}", "99999999999999999999999.png").contains("does not describe"));
        for (pattern, words) in [
            ("a", "must stand"),
            ("{prompt}{prompt}", "once"),
            ("{seed}_{prompt}", "only {prompt}"),
        ] {
            assert!(
                Pattern::parse(pattern)
                    .unwrap_err()
                    .to_string()
                    .contains(words),
                "{pattern}"
            );
        }
    }
}
