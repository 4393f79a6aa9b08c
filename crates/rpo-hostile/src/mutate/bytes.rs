//! Changes of bytes, whatever they mean.

use super::{Rng, place};
use rand::RngCore;
use rpo_data::random::{below, choose};

const NUMBERS: [u64; 18] = [
    0,
    1,
    2,
    7,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0x8000,
    0xffff,
    0x1_0000,
    0xea60,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
];

/// `old` with one change; parts are taken from `other`.
pub(super) fn change(old: &[u8], other: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut new = old.to_vec();
    let at = place(rng, new.len());
    let most = 1 << below(rng, 12);
    let length = 1 + place(rng, (new.len() - at).min(most));
    let end = (at + length).min(new.len());
    match below(rng, 9) {
        0 if !new.is_empty() => new[at] ^= 1 << below(rng, 8),
        1 if !new.is_empty() => new[at] = rng.next_u64() as u8,
        2 => new.truncate(at),
        3 => drop(new.drain(at..end)),
        4 => {
            let part = new[at..end].to_vec();
            new.splice(at..at, part);
        }
        5 => {
            let fresh: Vec<u8> = (0..length.min(64)).map(|_| rng.next_u64() as u8).collect();
            new.splice(at..at, fresh);
        }
        6 => {
            let from = place(rng, other.len());
            new.truncate(at);
            new.extend(&other[from..]);
        }
        7 => set_number(&mut new, at, rng),
        _ => {
            let head = place(rng, new.len().min(64));
            set_number(&mut new, head, rng);
        }
    }
    new
}

/// Writes an odd number of 1 to 8 bytes, in either order of bytes.
pub(super) fn set_number(bytes: &mut [u8], at: usize, rng: &mut Rng) {
    let number = choose(rng, &NUMBERS).to_le_bytes();
    let width = 1 << below(rng, 4);
    let mut number = number[..width].to_vec();
    if below(rng, 2) == 0 {
        number.reverse();
    }
    for (byte, new) in bytes.iter_mut().skip(at).zip(number) {
        *byte = new;
    }
}
