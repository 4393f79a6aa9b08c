//! Paths that are written as only a shell or another system would understand them.

use std::path::Path;

/// How to write such a path; `None` if nothing is odd about it, or it exists as it is written.
pub fn odd_spelling(path: &str) -> Option<String> {
    let drive = |p: &str| {
        let mut letters = p.chars();
        letters.next().is_some_and(|c| c.is_ascii_alphabetic()) && letters.next() == Some(':')
    };
    let odd_here = !Path::new(path).exists();
    Some(match path {
        _ if path == "~" || path.starts_with("~/") => {
            "only a shell expands ~: write the whole path, such as /home/you/photos".into()
        }
        _ if path.starts_with('$') || path.starts_with('%') => {
            "only a shell expands variables: write the whole path".into()
        }
        _ if path.starts_with("file:") => "write the path alone, without file://".into(),
        _ if cfg!(unix) && (drive(path) || path.starts_with(r"\\")) => format!(
            "{} is a path of Windows, this program runs on another system (WSL has drive C: below /mnt/c)",
            path.replace('\\', "/")
        ),
        _ if cfg!(unix) && path.contains('\\') && odd_here => format!(
            "folders are separated by / here: {}",
            path.replace('\\', "/")
        ),
        _ if path != path.trim() && odd_here => "the path begins or ends with a space".into(),
        _ => return None,
    })
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
            (
                r"C:\Users\me\photos",
                "C:/Users/me/photos is a path of Windows",
            ),
            ("d:/data", "Windows"),
            (r"\\server\share", "Windows"),
            (r"data\photos", "separated by / here: data/photos"),
            (" photos", "space"),
        ] {
            let hint = odd_spelling(path).unwrap_or_default();
            assert!(hint.contains(word), "{path}: {hint}");
        }
        for path in ["photos", "a~b", "/a/b c", "org/name@main", "~user", "micro"] {
            assert_eq!(odd_spelling(path), None, "{path}");
        }
    }
}
