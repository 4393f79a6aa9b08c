//! The subjects of StickerBench: stickers with a look that no caption word names.

use image::RgbaImage;
use rand::RngCore;

use super::REFERENCE_SCENES;
use super::sprites::{NOUNS, sticker};
use super::sticker::{Look, Pattern, PatternKind};
use super::world::{Picture, draw};
use crate::picture::{self, Seen};
use crate::random::{choose, shuffle, stream, unit};
use crate::subject::{Reference, Subject, is_live};

/// The token of the subjects; the embedded model's tokenizer has it (in lower case) and its base U-Net ignores it.
pub const TOKEN: &str = "[V]";

/// Reference pictures of a subject.
pub const REFERENCES: usize = 5;

/// Not a subject: it is also an accessory, and "wearing a crown" would need a second one.
const LEFT_OUT: [&str; 1] = ["crown"];

/// The looks of the first `count` subjects of `seed`: distinct nouns (75 at most), each with a distinctive pattern.
///
/// A subject depends on the seed and its noun only; a larger `count` changes no subject.
pub fn looks(seed: u64, count: usize) -> Vec<Look> {
    let nouns = names(seed, count);
    nouns.iter().map(|noun| look(seed, noun)).collect()
}

/// The names of the first `count` subjects of `seed`, their nouns; nothing is drawn.
pub fn names(seed: u64, count: usize) -> Vec<String> {
    let mut nouns: Vec<_> = NOUNS
        .into_iter()
        .filter(|n| !LEFT_OUT.contains(n))
        .collect();
    shuffle(&mut stream(seed, "stickerbench nouns", &[]), &mut nouns);
    nouns.into_iter().take(count).map(str::to_owned).collect()
}

fn look(seed: u64, noun: &str) -> Look {
    look_from(stream(seed, "stickerbench look", &[noun]), noun)
}

/// A distinctive look of a noun.
pub(super) fn look_from(mut rng: impl RngCore, noun: &str) -> Look {
    let mut best: Option<(f64, Look)> = None;
    for _ in 0..16 {
        let (kind, hue) = (*choose(&mut rng, &PatternKind::ALL), unit(&mut rng));
        let look = Look {
            pattern: Some(Pattern::sample(kind, hue, &mut rng)),
            ..Look::plain(noun)
        };
        let change = sticker(noun).map_or(0.0, |plain| mean_change(plain, &look.draw()));
        if change >= STANDS_OUT {
            return look;
        }
        if best.as_ref().is_none_or(|(most, _)| change > *most) {
            best = Some((change, look));
        }
    }
    best.map_or_else(|| Look::plain(noun), |(_, look)| look)
}

/// A look is distinctive if it changes the opaque pixels by this much on average (of 255); orange stripes on a carrot are not.
const STANDS_OUT: f64 = 40.0;

/// Mean absolute difference of the colours where `plain` is opaque.
fn mean_change(plain: &RgbaImage, changed: &RgbaImage) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for (a, b) in plain
        .pixels()
        .zip(changed.pixels())
        .filter(|(a, _)| a.0[3] > 127)
    {
        sum += (0..3)
            .map(|c| f64::from(a.0[c].abs_diff(b.0[c])))
            .sum::<f64>();
        count += 3.0;
    }
    if count > 0.0 { sum / count } else { 0.0 }
}

/// The first `count` subjects of `seed` (75 at most; see [`looks`]), each with 5 references in two scenes, on a wooden floor
/// and on a street. References have no caption: the prompt of the class is used.
///
/// Pictures are 64 x 64, or resized (Lanczos) to `size`.
pub fn subjects(seed: u64, count: usize, size: u32) -> Vec<Subject> {
    named(seed, &names(seed, count), size)
}

/// The subjects of `seed` with these names ([`names`]); see [`subjects`].
pub fn named(seed: u64, names: &[String], size: u32) -> Vec<Subject> {
    names
        .iter()
        .map(|noun| look(seed, noun))
        .map(|look| Subject {
            name: look.noun.clone(),
            class: look.noun.clone(),
            token: TOKEN.to_string(),
            live: is_live(&look.noun),
            references: (0..REFERENCES)
                .map(|i| Reference {
                    name: format!("{i:02}"),
                    file: format!("{i:02}.png"),
                    seen: Seen::default(),
                    caption_file: None,
                    picture: picture::resize(&draw(&reference(seed, &look, i)), size, size),
                    caption: None,
                })
                .collect(),
            notes: Vec::new(),
            passed_over: Vec::new(),
        })
        .collect()
}

/// The parameters of a subject's reference `index`, e.g. for its mask or for another view of it.
pub fn reference(seed: u64, look: &Look, index: usize) -> Picture {
    reference_of(seed, &look.noun, look, index)
}

/// The same for a subject of another name than its noun.
pub(super) fn reference_of(seed: u64, name: &str, look: &Look, index: usize) -> Picture {
    let mut rng = stream(seed, "stickerbench reference", &[name, &index.to_string()]);
    Picture::sample(
        look.clone(),
        None,
        REFERENCE_SCENES[index % REFERENCE_SCENES.len()],
        &mut rng,
    )
}
