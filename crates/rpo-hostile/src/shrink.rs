//! The smallest part of an input that still shows its fault.

use crate::case::Case;

/// `case` with whole files and then ever smaller parts of files left away, as long as `shows` holds; at most `tries` questions.
pub(crate) fn shrink(case: &Case, tries: usize, mut shows: impl FnMut(&Case) -> bool) -> Case {
    let mut best = case.clone();
    let mut left = tries;
    // `None` once there are no questions left.
    let mut better = |smaller: &Case| {
        left = left.checked_sub(1)?;
        Some(shows(smaller))
    };
    for name in case.files.keys() {
        let mut smaller = best.clone();
        smaller.files.remove(name);
        if better(&smaller) == Some(true) {
            best = smaller;
        }
    }
    for name in case.files.keys() {
        let mut part = best.files.get(name).map_or(0, Vec::len) / 2;
        while part > 0 {
            let mut at = 0;
            while let Some(bytes) = best.files.get(name).filter(|bytes| at < bytes.len()) {
                let mut bytes = bytes.clone();
                bytes.drain(at..(at + part).min(bytes.len()));
                let smaller = best.clone().with(name, bytes);
                match better(&smaller) {
                    None => return best,
                    Some(true) => best = smaller,
                    Some(false) => at += part,
                }
            }
            part /= 2;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_matter_goes() {
        let case = Case::of("a", *b"....x......").with("b", *b"y");
        let shows = |case: &Case| case.files.get("a").is_some_and(|a| a.contains(&b'x'));
        assert_eq!(shrink(&case, 100, shows), Case::of("a", *b"x"));
        assert_eq!(shrink(&case, 0, shows), case);
    }
}
