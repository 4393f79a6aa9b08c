//! The lists of prompts of an experiment: built in, or files; and what of them a subject has.

use super::planned::PlannedSubject;
use crate::arms::TrainingArm;
use crate::fields::Experiment;
use crate::layer::Layers;
use crate::own::Part;
use crate::paths;
use anyhow::Result;
use rpo_data::prompts::{Prompt, PromptSet, built_in, names, read_prompts};
use rpo_files::nearest;
use rpo_pref::recipe::ValidationPrompts;
use std::collections::HashMap;

/// Bytes of the prompts of all subjects: a plan holds them for each.
const MOST_BYTES: usize = 64 << 20;

/// A list and where it is from.
struct List {
    part: Part,
    /// The name of a built-in list, or the path of a file.
    from: String,
    prompts: Vec<Prompt>,
}

/// The three lists of an experiment.
pub(super) struct Lists {
    train: List,
    validation: List,
    test: List,
}

impl Lists {
    /// Reads them.
    ///
    /// # Errors
    /// [`rpo_files::failure::BadInput`] with the key, and file and line of a prompt that is refused.
    pub(super) fn of(e: &Experiment, layers: &Layers) -> Result<Self> {
        let list = |part| list(part, e, layers);
        Ok(Self {
            train: list(Part::Train)?,
            validation: list(Part::Validation)?,
            test: list(Part::Test)?,
        })
    }

    /// The prompts of living subjects, or of objects, limited to the experiment's numbers.
    pub(super) fn set(&self, e: &Experiment, live: bool) -> PromptSet {
        let [train, validation, test] =
            [&self.train, &self.validation, &self.test].map(|list| list.prompts.as_slice());
        let mut set = PromptSet::of(train, validation, test, live);
        fn cut<T>(list: &mut Vec<T>, n: usize) {
            if n > 0 {
                list.truncate(n);
            }
        }
        cut(&mut set.validation, e.validation.prompts);
        cut(&mut set.kinds.validation, e.validation.prompts);
        cut(&mut set.test, e.test.prompts);
        cut(&mut set.kinds.test, e.test.prompts);
        set
    }

    /// Checks them for the subjects that were found: each has prompts, and no test prompt is trained on or chooses a checkpoint.
    /// Validation prompts count only where an arm uses them.
    ///
    /// # Errors
    /// [`rpo_files::failure::BadInput`] with the keys, and both places of a prompt.
    pub(super) fn check(
        &self,
        e: &Experiment,
        arms: &[TrainingArm],
        subjects: &[PlannedSubject],
        layers: &Layers,
    ) -> Result<()> {
        // What the source implies is held to the same by a test.
        if e.prompts.is_default() {
            return Ok(());
        }
        let held_out = arms
            .iter()
            .any(|arm| arm.recipe.validation_prompts == ValidationPrompts::Validation);
        let mut used = vec![&self.train, &self.test];
        used.extend(held_out.then_some(&self.validation));
        for list in &used {
            let none = subjects
                .iter()
                .find(|s| !list.prompts.iter().any(|p| p.is_for(s.live)));
            if let Some(subject) = none {
                let kind = if subject.live {
                    "living subjects"
                } else {
                    "objects"
                };
                let message = format!(
                    "{} has no prompt for {kind}, and `{}` is one\n  hint: prompts without `live` are for every subject",
                    list.from, subject.name
                );
                return Err(layers.error(&list.key(), &message));
            }
        }
        for live in [false, true] {
            if subjects.iter().all(|s| s.live != live) {
                continue;
            }
            let hint = "results are of prompts that neither training nor choice has seen: remove it from one of the lists";
            apart(&self.test, &self.train, live, hint, layers)?;
            if held_out {
                apart(&self.test, &self.validation, live, hint, layers)?;
                let hint = "remove it from one of the lists; to choose by the training prompts on purpose, set recipe.validation_prompts = \"training\"";
                apart(&self.validation, &self.train, live, hint, layers)?;
            }
        }
        let bytes: usize = used.iter().map(|list| list.bytes()).sum();
        let all = bytes.saturating_mul(subjects.len());
        if all > MOST_BYTES {
            let longest = used.iter().max_by_key(|list| list.bytes());
            let key = longest.map_or_else(|| "prompts".to_owned(), |list| list.key());
            let message = format!(
                "{} subjects with {bytes} bytes of prompts each are {all} bytes, of at most {MOST_BYTES}\n  hint: fewer or shorter prompts",
                subjects.len()
            );
            return Err(layers.error(&key, &message));
        }
        Ok(())
    }
}

impl List {
    fn key(&self) -> String {
        format!("prompts.{}", self.part.name())
    }

    fn bytes(&self) -> usize {
        self.prompts.iter().map(|p| p.template.len()).sum()
    }
}

/// Refuses a prompt of `list` that `other` has too.
fn apart(list: &List, other: &List, live: bool, hint: &str, layers: &Layers) -> Result<()> {
    let fit = |list: &List| -> Vec<(String, usize)> {
        let fit = list.prompts.iter().filter(|p| p.is_for(live));
        fit.map(|p| (p.reading(), p.line)).collect()
    };
    let there: HashMap<String, usize> = fit(other).into_iter().collect();
    for (reading, line) in fit(list) {
        if let Some(first) = there.get(&reading) {
            let message = format!(
                "the {} prompt {reading:?} ({}:{line}) is a {} prompt too ({}:{first})\n  hint: {hint}",
                list.part.name(),
                list.from,
                other.part.name(),
                other.from
            );
            return Err(layers.error(&list.key(), &message));
        }
    }
    Ok(())
}

fn list(part: Part, e: &Experiment, layers: &Layers) -> Result<List> {
    let found = e.prompts.built_in(part, e.subjects.source.benchmark());
    if let Some((name, prompts)) = found.and_then(|name| Some((name, built_in(name)?))) {
        return Ok(List {
            part,
            from: name.to_owned(),
            prompts,
        });
    }
    let key = format!("prompts.{}", part.name());
    let given = e.prompts.given(part);
    let Some(path) = paths::local(given, &layers.folder) else {
        let known: Vec<&str> = names().chain(["dreambench", "stickerbench"]).collect();
        let hint = match nearest(given, &known) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!(
                "the path of a file with a prompt on each line, or one of {}",
                known.join(", ")
            ),
        };
        let message = format!(
            "\"{given}\" is neither a file nor a list of prompts that is known\n  hint: {hint}"
        );
        return Err(layers.error(&key, &message));
    };
    let prompts = read_prompts(&path).map_err(|e| layers.error(&key, &format!("{e:#}")))?;
    Ok(List {
        part,
        from: path.display().to_string(),
        prompts,
    })
}
