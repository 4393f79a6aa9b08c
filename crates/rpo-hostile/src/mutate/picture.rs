//! Changes of a picture: of PNG's chunks with their checksums made right, of JPEG's segments, and of the numbers in the header of any
//! other format.

use super::{Rng, bytes, place};
use rpo_data::random::{below, choose};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Sides as headers claim them.
const SIDES: [u32; 12] = [
    0,
    1,
    2,
    5,
    255,
    4096,
    16_384,
    60_000,
    65_500,
    65_535,
    0x7fff_ffff,
    0xffff_ffff,
];

/// A picture with one change.
pub(super) fn change(old: &[u8], rng: &mut Rng) -> Option<Vec<u8>> {
    if old.starts_with(PNG) {
        change_png(old, rng)
    } else if old.starts_with(b"\xff\xd8") {
        change_jpeg(old, rng)
    } else {
        let mut new = old.to_vec();
        let head = place(rng, new.len().min(128));
        match below(rng, 3) {
            0 => bytes::set_number(&mut new, head, rng),
            _ => {
                let side = choose(rng, &SIDES).to_le_bytes();
                for (byte, new) in new.iter_mut().skip(head).zip(side) {
                    *byte = new;
                }
            }
        }
        Some(new)
    }
}

/// Name and content of a PNG's chunks.
fn chunks(file: &[u8]) -> Option<Vec<([u8; 4], Vec<u8>)>> {
    let mut rest = file.strip_prefix(PNG)?;
    let mut chunks = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (name, after) = after.split_first_chunk::<4>()?;
        let (content, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        chunks.push((*name, content.to_vec()));
        rest = after.get(4..)?;
    }
    Some(chunks)
}

fn change_png(old: &[u8], rng: &mut Rng) -> Option<Vec<u8>> {
    let mut chunks = chunks(old).filter(|chunks| !chunks.is_empty())?;
    let at = place(rng, chunks.len());
    let other = place(rng, chunks.len());
    let claim = match below(rng, 9) {
        0..=2 => {
            let header = &mut chunks.first_mut()?.1;
            match below(rng, 3) {
                0 => header
                    .get_mut(0..4)?
                    .copy_from_slice(&choose(rng, &SIDES).to_be_bytes()),
                1 => header
                    .get_mut(4..8)?
                    .copy_from_slice(&choose(rng, &SIDES).to_be_bytes()),
                _ => *header.get_mut(8 + below(rng, 5))? = below(rng, 20) as u8,
            }
            None
        }
        3 => {
            chunks.remove(at);
            None
        }
        4 => {
            let chunk = chunks.get(at)?.clone();
            chunks.insert(other, chunk);
            None
        }
        5 => {
            let content = &mut chunks.get_mut(at)?.1;
            *content = bytes::change(content, &[], rng);
            None
        }
        6 => {
            let names = [
                *b"tRNS", *b"PLTE", *b"eXIf", *b"acTL", *b"fcTL", *b"iCCP", *b"tEXt", *b"gAMA",
                *b"IEND", *b"IDAT",
            ];
            let content = (0..below(rng, 40)).map(|_| below(rng, 256) as u8).collect();
            chunks.insert(other, (*choose(rng, &names), content));
            None
        }
        7 => {
            chunks.swap(at, other);
            None
        }
        _ => Some((at, *choose(rng, &SIDES))),
    };
    Some(png(&chunks, claim))
}

/// A PNG with right checksums; `claim`: the length that one of its chunks claims.
fn png(chunks: &[([u8; 4], Vec<u8>)], claim: Option<(usize, u32)>) -> Vec<u8> {
    let mut file = PNG.to_vec();
    for (i, (name, content)) in chunks.iter().enumerate() {
        let claimed = claim.filter(|(at, _)| *at == i).map(|(_, length)| length);
        let length = claimed.unwrap_or(content.len() as u32);
        file.extend(length.to_be_bytes());
        let body = [name, content.as_slice()].concat();
        file.extend(&body);
        file.extend(crc(&body).to_be_bytes());
    }
    file
}

/// The CRC-32 of a chunk.
fn crc(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
        }
    }
    !crc
}

fn change_jpeg(old: &[u8], rng: &mut Rng) -> Option<Vec<u8>> {
    let mut new = old.to_vec();
    // Starts of the segments before the scan.
    let mut starts = vec![2];
    let mut at = 2;
    while let [0xff, marker, high, low] = *new.get(at..at + 4)? {
        if marker == 0xda {
            break;
        }
        at += 2 + usize::from(u16::from_be_bytes([high, low]));
        if at > new.len() {
            break;
        }
        starts.push(at);
    }
    let at = *choose(rng, &starts);
    let length = 2 + usize::from(u16::from_be_bytes([*new.get(at + 2)?, *new.get(at + 3)?]));
    let frame = starts
        .iter()
        .find(|&&at| matches!(new.get(at + 1), Some(0xc0..=0xc2)));
    match (below(rng, 6), frame) {
        (0 | 1, Some(frame)) => {
            let side = (*choose(rng, &SIDES) as u16).to_be_bytes();
            let field = frame + 5 + 2 * below(rng, 2);
            new.get_mut(field..field + 2)?.copy_from_slice(&side);
        }
        // Precision, components, sampling.
        (2, Some(frame)) => *new.get_mut(frame + 4 + below(rng, 14))? = below(rng, 256) as u8,
        (3, _) => {
            let segment = new.get(at..at + length)?.to_vec();
            let to = *choose(rng, &starts);
            new.splice(to..to, segment);
        }
        (4, _) => drop(new.splice(at..(at + length).min(new.len()), [])),
        _ => *new.get_mut(at + 1 + place(rng, length))? = below(rng, 256) as u8,
    }
    Some(new)
}
