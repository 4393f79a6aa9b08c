//! Resolves the names in an experiment file to local paths.

use std::path::{Path, PathBuf};

/// The local places that may have `name`: the current folder, the experiment file's folder and its parents.
pub fn places(name: &str, experiment_folder: &Path) -> Vec<PathBuf> {
    let mut places = vec![PathBuf::from(name)];
    if Path::new(name).is_relative() {
        let folder = std::path::absolute(experiment_folder).unwrap_or_default();
        places.extend(folder.ancestors().take(4).map(|a| a.join(name)));
    }
    places.dedup();
    places
}

/// The first of [`places`] that exists.
pub fn local(name: &str, experiment_folder: &Path) -> Option<PathBuf> {
    let mut places = places(name, experiment_folder).into_iter();
    places.find(|p| p.exists() && !name.is_empty())
}

/// How to write a path whose beginning only a shell or another system would understand, if it is one.
pub fn unexpanded(path: &str) -> Option<&'static str> {
    let drive = |p: &str| {
        let mut letters = p.chars();
        letters.next().is_some_and(|c| c.is_ascii_alphabetic()) && letters.next() == Some(':')
    };
    match path {
        _ if path == "~" || path.starts_with("~/") => {
            Some("only a shell expands ~: write the whole path, such as /home/you/photos")
        }
        _ if path.starts_with('$') || path.starts_with('%') => {
            Some("only a shell expands variables: write the whole path")
        }
        _ if path.starts_with("file:") => Some("write the path alone, without file://"),
        _ if cfg!(unix) && (drive(path) || path.starts_with("\\\\")) => Some(
            "this is a path of Windows, this program runs on another system (WSL has drive C: below /mnt/c)",
        ),
        _ if cfg!(unix) && path.contains('\\') && !std::path::Path::new(path).exists() => {
            Some("folders are separated by / here")
        }
        _ if path != path.trim() && !std::path::Path::new(path).exists() => {
            Some("leave away the spaces around the path")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_a_shell_or_another_system_would_read() {
        for (path, word) in [
            ("~", "~"),
            ("~/photos", "~"),
            ("$HOME/photos", "variables"),
            ("%USERPROFILE%/photos", "variables"),
            ("file:///home/x", "file:"),
            ("C:\\Users\\me\\photos", "Windows"),
            ("d:/data", "Windows"),
            ("\\\\server\\share", "Windows"),
            ("data\\photos", "separated by /"),
            (" photos", "spaces"),
        ] {
            let hint = unexpanded(path).unwrap_or_default();
            assert!(hint.contains(word), "{path}: {hint}");
        }
        for path in ["photos", "a~b", "/a/b c", "org/name@main", "~user", "micro"] {
            assert_eq!(unexpanded(path), None, "{path}");
        }
    }
}
