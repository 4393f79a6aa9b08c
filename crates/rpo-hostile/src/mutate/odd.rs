//! Numbers and strings that break assumptions, as they stand in JSON and TOML.

use super::Rng;
use rpo_data::random::{below, choose};

const NUMBERS: [&str; 42] = [
    "0",
    "-0",
    "-0.0",
    "1",
    "-1",
    "2",
    "3",
    "7",
    "127",
    "255",
    "256",
    "1000",
    "4096",
    "32767",
    "32768",
    "65535",
    "65536",
    "1000000",
    "16777217",
    "2147483647",
    "2147483648",
    "-2147483649",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551615",
    "18446744073709551616",
    "1e308",
    "1e309",
    "-1e308",
    "1e-320",
    "1e-45",
    "3.5e38",
    "0.1",
    "0.5",
    "1.0000000000000002",
    "NaN",
    "Infinity",
    "-Infinity",
];

const STRINGS: [&str; 34] = [
    "",
    " ",
    "\\u0000",
    "..",
    "../x",
    "../../../../etc/passwd",
    "/",
    "/dev/null",
    "/etc/passwd",
    "~/x",
    "$HOME",
    "a/b",
    "a\\\\b",
    "C:\\\\x",
    "\\u001b[31mred\\u001b[0m",
    "\\u202eback",
    "\\ud800",
    "\\ud83d\\ude00",
    "\\ufeff",
    "\\n",
    "a\\nb",
    "\\t",
    "\\\"",
    "{}",
    "{token}",
    "{class}{class}",
    "[V]",
    "%s",
    "null",
    "0",
    "-1",
    "nan",
    "a,b",
    "\\u00e9\\u0301",
];

/// A number as text. Some are too large for the format, or no number of it.
pub(super) fn number(rng: &mut Rng) -> String {
    match below(rng, 12) {
        0 => "9".repeat(1 + below(rng, 400)),
        1 => format!("0.{}1", "0".repeat(below(rng, 400))),
        2 => (1u64 << below(rng, 64)).to_string(),
        3 => ((1u64 << below(rng, 64)) - 1).to_string(),
        4 => below(rng, 300).to_string(),
        _ => (*choose(rng, &NUMBERS)).to_owned(),
    }
}

/// A string as text, with its quotes. Some have escapes that the format forbids.
pub(super) fn string(rng: &mut Rng) -> String {
    let inner = match below(rng, 24) {
        0 => "a".repeat(1_000_000),
        1 => "\u{e9}".repeat(below(rng, 5000)),
        2 => {
            let times = 1 + below(rng, 50);
            choose(rng, &STRINGS).repeat(times)
        }
        _ => (*choose(rng, &STRINGS)).to_owned(),
    };
    format!("\"{inner}\"")
}

/// Any other value.
pub(super) fn value(rng: &mut Rng) -> String {
    match below(rng, 12) {
        0 => "null".into(),
        1 => "true".into(),
        2 => "false".into(),
        3 => "[]".into(),
        4 => "{}".into(),
        5 => nested(rng, '[', ']'),
        6 => {
            let depth = depth(rng);
            format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth))
        }
        7 => format!("[{}0]", "0,".repeat(below(rng, 20_000))),
        8 | 9 => number(rng),
        _ => string(rng),
    }
}

fn nested(rng: &mut Rng, open: char, close: char) -> String {
    let depth = depth(rng);
    let (open, close) = (open.to_string(), close.to_string());
    open.repeat(depth) + &close.repeat(depth)
}

fn depth(rng: &mut Rng) -> usize {
    *choose(rng, &[2, 20, 127, 128, 129, 1000, 50_000])
}
