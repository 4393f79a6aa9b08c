//! Changes of lines and words.

use super::{Rng, bytes, odd, place};
use rpo_data::random::{below, choose};

/// A text with one change of a line or of the whole.
pub(super) fn change(old: &[u8], other: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = old.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
    let at = place(rng, lines.len());
    let to = place(rng, lines.len());
    match below(rng, 12) {
        0 => drop(lines.remove(at)),
        1 => lines.swap(at, to),
        2 => {
            let line = lines[at].clone();
            lines.insert(to, line);
        }
        3 => lines[at].clear(),
        4 => lines[at] = odd::string(rng).trim_matches('"').into(),
        5 => lines[at].extend(odd::number(rng).as_bytes()),
        6 => {
            let odd: [&[u8]; 7] = [
                b"\xff",
                b"\0",
                b"\x1b[31m",
                b"\r",
                b"\t",
                b" ",
                "\u{202e}".as_bytes(),
            ];
            let column = place(rng, lines[at].len());
            lines[at].splice(column..column, choose(rng, &odd).iter().copied());
        }
        7 => change_word(&mut lines[at], rng),
        8 => return [b"\xef\xbb\xbf", old].concat(),
        9 => return lines.join(&b"\r\n"[..]),
        10 => {
            // UTF-16, as Windows' editors write it.
            let text = String::from_utf8_lossy(old).into_owned();
            let units = std::iter::once(0xfeff).chain(text.encode_utf16());
            return units.flat_map(u16::to_le_bytes).collect();
        }
        _ => lines[at] = bytes::change(&lines[at], other, rng),
    }
    lines.join(&b"\n"[..])
}

fn change_word(line: &mut Vec<u8>, rng: &mut Rng) {
    let mut words: Vec<Vec<u8>> = line.split(|b| *b == b' ').map(<[u8]>::to_vec).collect();
    let at = place(rng, words.len());
    match below(rng, 3) {
        0 => words[at] = odd::number(rng).into(),
        1 => words[at].clear(),
        _ => drop(words.remove(at)),
    }
    *line = words.join(&b' ');
}

/// A text with one of its lines changed by `change`, or its lines as in [`self::change`].
pub(super) fn change_line(
    old: &[u8],
    rng: &mut Rng,
    change: impl Fn(&[u8], &mut Rng) -> Option<Vec<u8>>,
) -> Option<Vec<u8>> {
    if below(rng, 4) == 0 {
        return Some(self::change(old, &[], rng));
    }
    let mut lines: Vec<Vec<u8>> = old.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
    let at = place(rng, lines.len());
    lines[at] = change(&lines[at], rng)?;
    Some(lines.join(&b"\n"[..]))
}
