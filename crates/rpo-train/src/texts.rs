//! Warnings about the texts of a plan: captions without the token, texts that the text encoder truncates.

use anyhow::Result;
use rpo_data::prompts::fill;
use rpo_data::subject::Subject;
use rpo_diffusion::Pipeline;
use rpo_experiment::plan::Plan;
use std::collections::BTreeSet;

/// One sentence for each text, captions first. Lengths are not checked without a model, whose tokenizer counts.
///
/// # Errors
/// Those of the tokenizer.
pub fn remarks(
    plan: &Plan,
    subjects: &[Subject],
    pipeline: Option<&Pipeline>,
) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for subject in subjects {
        for reference in &subject.references {
            let Some(caption) = &reference.caption else {
                continue;
            };
            let (token, file) = (&subject.token, format!("{}.txt", reference.name));
            let name = match subjects.len() {
                1 => file,
                _ => format!("{}/{file}", subject.name),
            };
            if place(caption, token).is_none() {
                found.push(format!(
                    "{name} does not hold the token `{token}`: what it says of the subject is bound to no word that prompts use"
                ));
            }
            if let Some(pipeline) = pipeline {
                found.extend(cut(pipeline, &name, caption, Some(token))?);
            }
        }
    }
    let Some(pipeline) = pipeline else {
        return Ok(found);
    };
    // Subjects of one class share their prompts.
    let mut prompts = BTreeSet::new();
    for subject in &plan.subjects {
        let all = [
            &subject.prompts.train,
            &subject.prompts.validation,
            &subject.prompts.test,
        ];
        for template in all.into_iter().flatten() {
            prompts.insert(fill(template, Some(&subject.token), &subject.class));
        }
    }
    for prompt in &prompts {
        let start: String = prompt.chars().take(40).collect();
        found.extend(cut(
            pipeline,
            &format!("the prompt {start:?}…"),
            prompt,
            None,
        )?);
    }
    Ok(found)
}

/// The warning about a truncated text.
fn cut(
    pipeline: &Pipeline,
    name: &str,
    text: &str,
    token: Option<&String>,
) -> Result<Option<String>> {
    let (tokens, read) = pipeline.tokens(text)?;
    if tokens <= read {
        return Ok(None);
    }
    let mut said = format!("{name}: {tokens} tokens, of which the text encoder reads {read}");
    if let Some((token, end)) = token.and_then(|t| Some((t, place(text, t)?))) {
        // Start and end tokens are counted here as for the whole text.
        let (needed, _) = pipeline.tokens(&text[..end])?;
        if needed > read {
            said += &format!("; the token `{token}` is beyond them");
        }
    }
    Ok(Some(said))
}

/// Where the token's first occurrence as a word ends in a text, ignoring case as text encoders do.
fn place(text: &str, token: &str) -> Option<usize> {
    let token = token.trim();
    if token.is_empty() {
        return Some(0);
    }
    let within = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let starts = text.char_indices().map(|(i, _)| i);
    starts
        .filter_map(|start| {
            let end = start + same_start(&text[start..], token)?;
            let before = text[..start].chars().next_back();
            let after = text[end..].chars().next();
            let joined = (within(before) && within(token.chars().next()))
                || (within(after) && within(token.chars().next_back()));
            (!joined).then_some(end)
        })
        .next()
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
    use super::place;

    #[test]
    fn a_token_is_a_word_of_its_own() {
        assert_eq!(place("a photo of [v] dog", "[v]"), Some(14));
        assert_eq!(place("a photo of [V]dog", "[v]"), Some(14));
        assert_eq!(place("Sks dog", "sks"), Some(3));
        assert_eq!(place("he asks, sks", "sks"), Some(12));
        assert_eq!(place("ohwx", "ohwx"), Some(4));
        for without in ["a dog", "he asks", "skss", "", "ein süßer Hund"] {
            assert_eq!(place(without, "sks"), None, "{without}");
        }
        assert_eq!(place("für sks", "sks"), Some(8));
    }
}
