//! Warnings about the texts of a plan: captions without the token, texts that the text encoder truncates.

use crate::runner::class_folders::GivenClass;
use anyhow::Result;
use rpo_data::augment::LONGEST;
use rpo_data::prompts::{fill, token_places};
use rpo_data::subject::Subject;
use rpo_diffusion::Pipeline;
use rpo_experiment::TrainingArm;
use rpo_experiment::plan::Plan;
use rpo_pref::Recipe;
use rpo_pref::recipe::Augment;
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
    // What the augmentation puts before the references' prompts.
    let before = |recipe: &Recipe| match recipe.augment {
        Augment::None => "",
        Augment::CustomDiffusion => LONGEST,
    };
    let befores = plan.arms.iter().map(|arm| before(&arm.recipe));
    let longest = befores.max_by_key(|words| words.len()).unwrap_or_default();
    let most = plan.arms.iter().map(vectors).max().unwrap_or(0);
    for subject in subjects {
        for reference in &subject.references {
            let Some(caption) = &reference.caption else {
                continue;
            };
            let token = &subject.token;
            let file = reference.caption_file.as_ref().unwrap_or(&reference.file);
            let name = match subjects.len() {
                1 => file.clone(),
                _ => format!("{}/{file}", subject.name),
            };
            if token_places(caption, token).is_empty() {
                found.push(format!(
                    "{name} does not hold the token `{token}`: what it says of the subject is bound to no word that prompts use"
                ));
            }
            if let Some(pipeline) = pipeline {
                let text = format!("{longest}{caption}");
                found.extend(cut(pipeline, &name, &text, token, most)?);
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
            let prompt = fill(template, Some(&subject.token), &subject.class);
            prompts.insert((prompt, subject.token.as_str()));
        }
    }
    // Of the recipes' own prompts those that some arm reads.
    for (subject, photos) in plan.subjects.iter().zip(subjects) {
        let (token, class) = (subject.token.as_str(), &subject.class);
        let bare = photos.references.iter().any(|r| r.caption.is_none());
        for recipe in plan.arms.iter().map(|arm| &arm.recipe) {
            if bare {
                let instance = recipe.instance_prompt.of(&format!("{token} {class}"));
                prompts.insert((format!("{}{instance}", before(recipe)), token));
            }
            if recipe.prior_weight > 0.0 {
                prompts.insert((recipe.class_prompt.of(class), token));
            }
        }
    }
    for (prompt, token) in &prompts {
        found.extend(too_long(pipeline, prompt, token, most)?);
    }
    Ok(found)
}

/// One sentence for each odd caption of the given pictures of classes.
///
/// # Errors
/// Those of the tokenizer.
pub fn of_classes(
    plan: &Plan,
    classes: &[Option<GivenClass>],
    pipeline: Option<&Pipeline>,
) -> Result<Vec<String>> {
    let mut found = BTreeSet::new();
    for (given, subject) in classes.iter().zip(&plan.subjects) {
        let token = &subject.token;
        for picture in given.iter().flat_map(|given| &given.pictures) {
            let Some(caption) = &picture.caption else {
                continue;
            };
            let name = format!("the caption of {}", picture.file);
            if !token_places(caption, token).is_empty() {
                found.insert(format!(
                    "{name}, a picture of the class, holds the token `{token}`: the prior then holds fast what the token stands for"
                ));
            }
            if let Some(pipeline) = pipeline {
                found.extend(cut(pipeline, &name, caption, token, 0)?);
            }
        }
    }
    Ok(found.into_iter().collect())
}

/// The vectors of an arm's new word; 0 without one.
pub fn vectors(arm: &TrainingArm) -> usize {
    arm.token.as_ref().map_or(0, |token| token.vectors)
}

/// The warning about a prompt that the text encoder truncates, if the token may be a word of so many `vectors`.
///
/// # Errors
/// Those of the tokenizer.
pub fn too_long(
    pipeline: &Pipeline,
    prompt: &str,
    token: &str,
    vectors: usize,
) -> Result<Option<String>> {
    cut(pipeline, &beginning(prompt), prompt, token, vectors)
}

/// A prompt's name in warnings.
pub fn beginning(prompt: &str) -> String {
    let start: String = prompt.chars().take(40).collect();
    format!("the prompt {start:?}…")
}

fn cut(
    pipeline: &Pipeline,
    name: &str,
    text: &str,
    token: &str,
    vectors: usize,
) -> Result<Option<String>> {
    // Start and end are no tokens of the word.
    let letters = pipeline.tokens(token)?.0.saturating_sub(2);
    let more = vectors.saturating_sub(letters);
    truncated(name, text, token, "the text encoder", |text| {
        let (tokens, read) = pipeline.tokens(text)?;
        Ok((tokens + more * token_places(text, token).len(), read))
    })
}

/// The warning about a text, called `name`, that `encoder` truncates. `tokens` counts a text's tokens and those that are read.
///
/// # Errors
/// Those of `tokens`.
pub fn truncated(
    name: &str,
    text: &str,
    token: &str,
    encoder: &str,
    tokens: impl Fn(&str) -> Result<(usize, usize)>,
) -> Result<Option<String>> {
    let (count, read) = tokens(text)?;
    if count <= read {
        return Ok(None);
    }
    let mut said = format!("{name}: {count} tokens, of which {encoder} reads {read}");
    if let Some(place) = token_places(text, token).first() {
        // Start and end tokens are counted here as for the whole text.
        let (needed, _) = tokens(&text[..place.end])?;
        if needed > read {
            said += &format!("; the token `{token}` is beyond them");
        }
    }
    Ok(Some(said))
}
