//! Settings and names in words.

use crate::nearest;

/// `guidance 3`, with the interval if only a part of the trajectory is guided.
pub fn describe_guidance(scale: f64, interval: Option<[f64; 2]>) -> String {
    match interval {
        Some([from, to]) => format!("guidance {scale} from {from} to {to} of the trajectory"),
        None => format!("guidance {scale}"),
    }
}

/// Whether two names of rows, arms or rules are the same but for case, the number of blanks and those around `·`.
pub fn same_name(a: &str, b: &str) -> bool {
    let plain = |name: &str| -> String {
        let parts = name.split('·').map(|part| part.split_whitespace());
        let parts = parts.map(|words| words.collect::<Vec<_>>().join(" "));
        parts.collect::<Vec<_>>().join("·").to_lowercase()
    };
    plain(a) == plain(b)
}

/// The hint for a name that is none of `known`: the nearest, and all.
pub fn suggest(name: &str, known: &[&str]) -> String {
    let near = nearest(name, known);
    let meant = near.map_or(String::new(), |near| format!("did you mean \"{near}\"? "));
    format!("{meant}they are {}", known.join(", "))
}
