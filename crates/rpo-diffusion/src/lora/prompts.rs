//! Words as other programs want them typed in a prompt.

/// `words` for A1111, Forge and SD.Next, where `[v]` is a weaker `v` and `(v)` a stronger one: brackets, parentheses and backslashes
/// get a backslash, and the text encoder reads the words as they are.
#[must_use]
pub fn for_a1111(words: &str) -> String {
    escaped(words, &['[', ']', '(', ')', '\\'])
}

/// `words` for ComfyUI, where only parentheses change the weight.
#[must_use]
pub fn for_comfyui(words: &str) -> String {
    escaped(words, &['(', ')'])
}

fn escaped(words: &str, special: &[char]) -> String {
    let mut out = String::with_capacity(words.len());
    for c in words.chars() {
        if special.contains(&c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_keep_their_meaning_as_letters() {
        assert_eq!(for_a1111("[v] dog"), r"\[v\] dog");
        assert_eq!(for_a1111(r"sks (x)\ cat"), r"sks \(x\)\\ cat");
        assert_eq!(for_comfyui("[v] dog (x)"), r"[v] dog \(x\)");
        assert_eq!(for_a1111("sks dog"), "sks dog");
    }
}
