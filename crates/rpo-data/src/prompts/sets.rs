//! The prompts inside the program, by name. Their files are in `prompts/` of this crate; [`super::dreambench`] and
//! [`crate::stickerbench::prompts`] say where they are from.

use super::list::{Form, Prompt, parse};

macro_rules! built_in {
    ($($name:literal => $file:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../prompts/", $file, ".jsonl")))),*]
    };
}

/// Name and text of each.
const SETS: [(&str, &str); 6] = built_in![
    "dreambench-train" => "dreambench.train",
    "dreambench-validation" => "dreambench.validation",
    "dreambench-test" => "dreambench.test",
    "stickerbench-train" => "stickerbench.train",
    "stickerbench-validation" => "stickerbench.validation",
    "stickerbench-test" => "stickerbench.test",
];

/// Their names.
pub fn names() -> impl Iterator<Item = &'static str> {
    SETS.into_iter().map(|(name, _)| name)
}

/// The prompts of a name; `None` for one that is not built in.
///
/// ```
/// use rpo_data::prompts::built_in;
/// assert_eq!(built_in("dreambench-test").unwrap()[1].template, "a {} in the snow");
/// ```
pub fn built_in(name: &str) -> Option<Vec<Prompt>> {
    let (name, text) = SETS.into_iter().find(|(known, _)| *known == name)?;
    Some(parse(name, text, Form::Rows).expect("the program's own prompts are tested"))
}
