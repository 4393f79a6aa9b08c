//! The hub's environment variables, with the precedence of the Python package `huggingface_hub`.

use std::path::PathBuf;

/// Where the cache is and whether the hub may be contacted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// Folder of the cached repositories: `HF_HUB_CACHE`, else `HUGGINGFACE_HUB_CACHE`, else `hub` in the hub's home.
    pub cache: PathBuf,
    /// `HF_HUB_OFFLINE`, or the older `TRANSFORMERS_OFFLINE`, is one of 1, on, yes, true: only the cache is used.
    pub offline: bool,
    /// `HF_TOKEN`, else the content of the file `HF_TOKEN_PATH`, else of `token` in the hub's home.
    pub token: Option<String>,
    /// `HF_ENDPOINT`: another server than the hub's own.
    pub endpoint: Option<String>,
}

impl Environment {
    /// Reads it by `variable`, which maps a variable's name to its value. The hub's home is `HF_HOME`, else `huggingface` in
    /// `XDG_CACHE_HOME`, else in `~/.cache`. An empty variable counts as unset; `~`, `$NAME` and `${NAME}` in paths are filled in.
    pub fn new(variable: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let path = |name: &str| get(name).map(|value| expand(&value, &get));
        let user = PathBuf::from(
            get("HOME")
                .or_else(|| get("USERPROFILE"))
                .unwrap_or_default(),
        );
        let home = path("HF_HOME").unwrap_or_else(|| {
            let caches = path("XDG_CACHE_HOME").unwrap_or_else(|| user.join(".cache"));
            caches.join("huggingface")
        });
        let cache = path("HF_HUB_CACHE")
            .or_else(|| path("HUGGINGFACE_HUB_CACHE"))
            .unwrap_or_else(|| home.join("hub"));
        let truth = |name: &str| {
            let value = get(name).map(|v| v.to_lowercase());
            value.map(|v| ["1", "on", "yes", "true"].contains(&v.as_str()))
        };
        let token = get("HF_TOKEN").or_else(|| {
            let file = path("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"));
            std::fs::read_to_string(file).ok()
        });
        Self {
            cache,
            offline: truth("HF_HUB_OFFLINE").or_else(|| truth("TRANSFORMERS_OFFLINE"))
                == Some(true),
            token: token.map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()),
            endpoint: get("HF_ENDPOINT").map(|e| e.trim_end_matches('/').to_owned()),
        }
    }

    /// Reads it from this process's environment.
    pub fn of_process() -> Self {
        Self::new(|name| std::env::var(name).ok())
    }
}

/// Expands a leading `~` and the variables of a path; an unknown variable stays as written.
pub(crate) fn expand(text: &str, get: &impl Fn(&str) -> Option<String>) -> PathBuf {
    let home = text
        .strip_prefix('~')
        .filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let mut rest = match (home, get("HOME")) {
        (Some(rest), Some(home)) => home + rest,
        _ => text.to_owned(),
    };
    let mut out = String::new();
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let (name, end) = match after
            .strip_prefix('{')
            .and_then(|inner| inner.split_once('}'))
        {
            Some((name, _)) => (name, name.len() + 2),
            None => {
                let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
                let end = after.find(|c| !word(c)).unwrap_or(after.len());
                (&after[..end], end)
            }
        };
        match get(name) {
            Some(value) => out.push_str(&value),
            None => out.push_str(&rest[at..at + 1 + end]),
        }
        rest = after[end..].to_owned();
    }
    out.push_str(&rest);
    PathBuf::from(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Environment {
        Environment::new(|name| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn cache(variables: &[(&str, &str)]) -> String {
        of(variables).cache.display().to_string()
    }

    #[test]
    fn the_cache_is_where_the_most_special_variable_says() {
        let home = ("HOME", "/home/ann");
        let xdg = ("XDG_CACHE_HOME", "/xdg");
        let hf = ("HF_HOME", "/hf");
        let old = ("HUGGINGFACE_HUB_CACHE", "/old");
        let new = ("HF_HUB_CACHE", "/new");
        assert_eq!(cache(&[home]), "/home/ann/.cache/huggingface/hub");
        assert_eq!(cache(&[home, xdg]), "/xdg/huggingface/hub");
        assert_eq!(cache(&[home, xdg, hf]), "/hf/hub");
        assert_eq!(cache(&[home, xdg, hf, old]), "/old");
        assert_eq!(cache(&[home, xdg, hf, old, new]), "/new");
        assert_eq!(cache(&[home, ("HF_HUB_CACHE", ""), hf]), "/hf/hub");
    }

    #[test]
    fn paths_are_filled_in() {
        let home = ("HOME", "/home/ann");
        assert_eq!(cache(&[home, ("HF_HUB_CACHE", "~/c")]), "/home/ann/c");
        assert_eq!(cache(&[home, ("HF_HUB_CACHE", "~")]), "/home/ann");
        assert_eq!(cache(&[home, ("HF_HUB_CACHE", "/a/~/b")]), "/a/~/b");
        let scratch = ("SCRATCH", "/s");
        assert_eq!(cache(&[scratch, ("HF_HOME", "$SCRATCH/hf")]), "/s/hf/hub");
        assert_eq!(
            cache(&[scratch, ("HF_HOME", "/x${SCRATCH}y$NO/$")]),
            "/x/sy$NO/$/hub"
        );
    }

    #[test]
    fn offline_tokens_and_servers() {
        for (value, offline) in [
            ("1", true),
            ("On", true),
            ("YES", true),
            ("true", true),
            ("0", false),
            ("", false),
        ] {
            assert_eq!(of(&[("HF_HUB_OFFLINE", value)]).offline, offline, "{value}");
        }
        assert!(of(&[("TRANSFORMERS_OFFLINE", "1")]).offline);
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().display().to_string();
        std::fs::write(folder.path().join("token"), "hf_file\n").unwrap();
        std::fs::write(folder.path().join("other"), "hf_other\n").unwrap();
        let other = format!("{home}/other");
        let token = |variables: &[(&str, &str)]| of(variables).token;
        assert_eq!(token(&[("HF_HOME", &home)]).as_deref(), Some("hf_file"));
        assert_eq!(
            token(&[("HF_HOME", &home), ("HF_TOKEN_PATH", &other)]).as_deref(),
            Some("hf_other")
        );
        assert_eq!(
            token(&[("HF_HOME", &home), ("HF_TOKEN", "hf_word")]).as_deref(),
            Some("hf_word")
        );
        assert_eq!(token(&[("HF_HOME", "/nowhere")]), None);
        assert_eq!(
            of(&[("HF_ENDPOINT", "https://mirror/")])
                .endpoint
                .as_deref(),
            Some("https://mirror")
        );
    }
}
