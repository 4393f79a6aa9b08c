//! The subjects of StickerBench: stickers with a look that no caption word names.

use image::RgbaImage;
use image::imageops::{self, FilterType};
use rand::RngCore;

use super::REFERENCE_SCENES;
use super::caption::Caption;
use super::sprites::{NOUNS, sticker};
use super::sticker::{Look, Pattern, PatternKind, mask};
use super::world::{Picture, draw};
use crate::picture::{self, Seen};
use crate::random::{choose, shuffle, stream, unit};
use crate::subject::{PhotoMask, Reference, Subject, is_live};

/// The token of the subjects; the embedded model's tokenizer has it (in lower case) and its base U-Net ignores it.
pub const TOKEN: &str = "[V]";

/// The token as captions write it.
const IN_CAPTIONS: &str = "[v]";

/// Reference pictures of a subject.
pub const REFERENCES: usize = 5;

/// Not a subject: it is also an accessory, and "wearing a crown" would need a second one.
const LEFT_OUT: [&str; 1] = ["crown"];

/// The looks of the first `count` subjects of `seed`, each with a distinctive pattern.
///
/// A subject depends on the seed and its name only; a larger `count` changes no subject.
pub fn looks(seed: u64, count: usize) -> Vec<Look> {
    let names = names(seed, count);
    names.iter().map(|name| look(seed, name)).collect()
}

/// The names of the first `count` subjects of `seed`: the 75 nouns in an order of the seed's, then these again with other looks,
/// `lion-2`, …. Nothing is drawn.
pub fn names(seed: u64, count: usize) -> Vec<String> {
    let mut nouns: Vec<_> = subject_nouns().collect();
    shuffle(&mut stream(seed, "stickerbench nouns", &[]), &mut nouns);
    let name = |round: usize, noun: &str| match round {
        1 => noun.to_owned(),
        _ => format!("{noun}-{round}"),
    };
    let rounds = 1..=count.div_ceil(nouns.len());
    let all = rounds.flat_map(|round| nouns.iter().map(move |noun| name(round, noun)));
    all.take(count).collect()
}

fn subject_nouns() -> impl Iterator<Item = &'static str> {
    NOUNS.into_iter().filter(|n| !LEFT_OUT.contains(n))
}

/// The noun of a subject with this name, `lion` of `lion-2`, and which of its looks it has; `None` for no subject's name.
pub fn noun_of(name: &str) -> Option<(&'static str, u32)> {
    let (noun, round) = match name.rsplit_once('-') {
        Some((noun, digits)) if !digits.starts_with(['0', '+']) => {
            (noun, digits.parse().ok().filter(|round| *round > 1)?)
        }
        _ => (name, 1),
    };
    Some((subject_nouns().find(|known| *known == noun)?, round))
}

/// The look of the subject of `seed` with this name ([`names`]).
pub fn look(seed: u64, name: &str) -> Look {
    let (noun, round) = noun_of(name).unwrap_or((name, 1));
    let round = (round > 1).then(|| round.to_string());
    let key: Vec<&str> = [noun].into_iter().chain(round.as_deref()).collect();
    look_from(stream(seed, "stickerbench look", &key), noun)
}

/// A distinctive look of a noun.
fn look_from(mut rng: impl RngCore, noun: &str) -> Look {
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

/// The first `count` subjects of `seed` (see [`names`]), each with 5 references in two scenes, on a wooden floor and on a street.
/// References have no caption ([`captions`]).
///
/// Pictures are 64 x 64, or resized (Lanczos) to `size`.
pub fn subjects(seed: u64, count: usize, size: u32) -> Vec<Subject> {
    named(seed, &names(seed, count), size)
}

/// The subjects of `seed` with these names ([`names`]); see [`subjects`].
pub fn named(seed: u64, names: &[String], size: u32) -> Vec<Subject> {
    names
        .iter()
        .map(|name| (name, look(seed, name)))
        .map(|(name, look)| Subject {
            name: name.clone(),
            class: look.noun.clone(),
            token: TOKEN.to_string(),
            live: is_live(&look.noun),
            look: Some(look.clone()),
            references: (0..REFERENCES)
                .map(|i| rendered(&reference_of(seed, name, &look, i), i, size))
                .collect(),
            notes: Vec::new(),
            passed_over: Vec::new(),
        })
        .collect()
}

/// A reference with its mask, which is exact.
fn rendered(of: &Picture, index: usize, size: u32) -> Reference {
    let file = format!("{index:02}.png");
    let mask = mask(&of.sticker);
    Reference {
        name: format!("{index:02}"),
        seen: Seen::default(),
        picture: picture::resize(&draw(of), size, size),
        mask: Some(PhotoMask {
            picture: imageops::resize(&mask, size, size, FilterType::Triangle),
            file: file.clone(),
        }),
        file,
        caption: None,
        caption_file: None,
    }
}

/// The captions of the references of one subject, exact to the scene: `a photo of a [v] lion on a wooden floor`, with `token`.
pub fn captions(seed: u64, name: &str, look: &Look, token: &str) -> Vec<String> {
    let of = |i| caption_of(&reference_of(seed, name, look, i));
    let text = |i| of(i).to_string().replace(IN_CAPTIONS, token);
    (0..REFERENCES).map(text).collect()
}

/// The caption of a reference: noun, token and scene, not the look.
pub(super) fn caption_of(reference: &Picture) -> Caption {
    Caption {
        photo: true,
        token: true,
        colour: None,
        pattern: None,
        noun: reference.sticker.look.noun.clone(),
        accessory: None,
        scene: Some(reference.scene.scene),
    }
}

/// The parameters of the reference `index` of the subject that is named as its noun, e.g. for its mask or for another view of it.
pub fn reference(seed: u64, look: &Look, index: usize) -> Picture {
    reference_of(seed, &look.noun, look, index)
}

/// The same for a subject of any name.
pub fn reference_of(seed: u64, name: &str, look: &Look, index: usize) -> Picture {
    let mut rng = stream(seed, "stickerbench reference", &[name, &index.to_string()]);
    Picture::sample(
        look.clone(),
        None,
        REFERENCE_SCENES[index % REFERENCE_SCENES.len()],
        &mut rng,
    )
}
