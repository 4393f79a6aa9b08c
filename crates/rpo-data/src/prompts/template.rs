//! Templates: prompts with places for a subject's token and class.

use anyhow::{Result, bail};

/// Inserts `token` and `class` into `template`; without a token, `{token}` is removed with one adjacent space.
pub fn fill(template: &str, token: Option<&str>, class: &str) -> String {
    let template = long(template);
    let template = match token {
        Some(token) => template.replace("{token}", token),
        None => template
            .replace("{token} ", "")
            .replace(" {token}", "")
            .replace("{token}", ""),
    };
    template.replace("{class}", class)
}

/// Checks that a template has a placeholder for the class, at most one for the token, and no other braces.
///
/// # Errors
/// With the template and a hint.
pub fn check(template: &str) -> Result<()> {
    let long = long(template);
    let (tokens, classes) = (
        long.matches("{token}").count(),
        long.matches("{class}").count(),
    );
    let rest = long.replace("{token}", "").replace("{class}", "");
    if rest.contains(['{', '}']) {
        bail!(
            "the prompt {template:?} has braces around something else than token or class\n  hint: only {{}}, {{token}} and {{class}} are known; {{}} stands for both, as in \"a {{}} in the snow\""
        );
    }
    if classes != 1 || tokens > 1 {
        bail!(
            "the prompt {template:?} names the class {classes} times and the token {tokens} times\n  hint: write {{}} where \"[V] dog\" belongs, or {{token}} and {{class}} once each"
        );
    }
    Ok(())
}

/// `{}` written out.
fn long(template: &str) -> String {
    template.replace("{}", "{token} {class}")
}

/// What two prompts that a text encoder would read alike have in common: `{}` written out, small letters, single spaces.
pub(super) fn reading(template: &str) -> String {
    let long = long(template).to_lowercase();
    long.split_whitespace().collect::<Vec<_>>().join(" ")
}
