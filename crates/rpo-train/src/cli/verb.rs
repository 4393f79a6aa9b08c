//! The first argument: a verb, or what `run` is given.

use anyhow::Result;
use rpo_experiment::built_in::{self, BuiltIn};
use rpo_experiment::nearest;
use rpo_files::failure::BadInput;
use std::ffi::OsString;
use std::path::Path;

pub(super) const VERBS: [&str; 23] = [
    "run",
    "new",
    "completions",
    "cache",
    "cell",
    "submit",
    "prepare",
    "status",
    "plan",
    "check",
    "generate",
    "forward",
    "lora",
    "export",
    "import",
    "eval",
    "report",
    "figure",
    "stickerbench",
    "doctor",
    "experiments",
    "schema",
    "help",
];

/// `rpo-train FILE …` means `rpo-train run FILE …`.
///
/// # Errors
/// [`BadInput`] if the first argument is neither a verb nor an experiment, but nearly a verb.
pub(super) fn with_verb(mut args: Vec<OsString>) -> Result<Vec<OsString>> {
    let Some(first) = args.get(1) else {
        return Ok(args);
    };
    let word = first.to_str();
    if word.is_some_and(|w| w.starts_with('-') || VERBS.contains(&w)) {
        return Ok(args);
    }
    if let Some(word) = word
        && let Some(verb) = mistyped(word)
    {
        return Err(BadInput::new(format!(
            "{word}: neither a verb nor a file nor a built-in experiment\n  hint: did you mean `rpo-train {verb}`?"
        )));
    }
    args.insert(1, "run".into());
    Ok(args)
}

/// The verb that `word` is most similar to, unless it may be an experiment.
fn mistyped(word: &str) -> Option<&'static str> {
    let plain = word.chars().all(|c| c.is_alphanumeric() || c == '-');
    if !plain || Path::new(word).exists() || Path::new(&format!("{word}.toml")).exists() {
        return None;
    }
    let experiments = built_in::EXPERIMENTS.iter().chain(built_in::SIZES);
    let known: Vec<&str> = VERBS
        .into_iter()
        .chain(experiments.map(BuiltIn::short))
        .collect();
    let meant = nearest(&word.to_lowercase(), &known)?;
    VERBS.into_iter().find(|verb| *verb == meant)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(words: &[&str]) -> Result<OsString> {
        let args = words.iter().map(OsString::from).collect();
        with_verb(args).map(|mut args| args.swap_remove(1))
    }

    #[test]
    fn a_file_alone_is_run() {
        assert_eq!(first(&["rpo-train", "a.toml"]).unwrap(), "run");
        assert_eq!(first(&["rpo-train", "doctor"]).unwrap(), "doctor");
        assert_eq!(first(&["rpo-train", "--help"]).unwrap(), "--help");
        assert_eq!(with_verb(vec!["rpo-train".into()]).unwrap().len(), 1);
    }

    #[test]
    fn no_experiment_is_named_like_a_verb() {
        let all = built_in::EXPERIMENTS.iter().chain(built_in::SIZES);
        for name in all.map(BuiltIn::short) {
            assert!(!VERBS.contains(&name), "{name}");
            assert_eq!(first(&["rpo-train", name]).unwrap(), "run");
        }
    }

    #[test]
    fn a_mistyped_verb_gets_the_nearest() {
        for (word, verb) in [
            ("reprot", "report"),
            ("genrate", "generate"),
            ("chekc", "check"),
            ("Export", "export"),
        ] {
            let said = first(&["rpo-train", word]).unwrap_err().to_string();
            assert!(said.contains(&format!("`rpo-train {verb}`")), "{said}");
        }
        // Their own messages are better.
        for word in [
            "quikstart",
            "report.toml",
            "runs/report",
            "zzz",
            "my_subjct",
        ] {
            assert_eq!(first(&["rpo-train", word]).unwrap(), "run", "{word}");
        }
    }
}
