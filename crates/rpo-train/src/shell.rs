//! Words of a shell.

use std::path::Path;

/// A path as a word of the shell.
pub fn word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@,".contains(c);
    match text.chars().all(plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::word;
    use std::path::Path;

    #[test]
    fn blanks_are_quoted() {
        assert_eq!(word(Path::new("runs/a-1")), "runs/a-1");
        assert_eq!(word(Path::new("my dog's")), r"'my dog'\''s'");
    }
}
