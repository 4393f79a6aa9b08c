//! StickerBench against the Python prototype (`scripts/golden/stickers.py`), and the properties of its subjects and prompts.

use std::collections::HashSet;

use image::{RgbImage, imageops::crop_imm};
use proptest::prelude::*;
use rpo_data::random::stream;
use rpo_data::stickerbench::caption::{Caption, ColourWord};
use rpo_data::stickerbench::scene::{self, Scene};
use rpo_data::stickerbench::sprites::{Accessory, NOUNS};
use rpo_data::stickerbench::sticker::{Look, PatternKind, mask};
use rpo_data::stickerbench::subjects::{self, subjects};
use rpo_data::stickerbench::world::{self, Picture};
use rpo_data::stickerbench::{REFERENCE_SCENES, SIDE, prompts};
use rpo_data::{picture, prompts::check, prompts::fill};

const ROW: u32 = 12;

fn golden() -> (Vec<Picture>, RgbImage) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    let text = std::fs::read_to_string(format!("{folder}/stickers.json")).unwrap();
    (
        serde_json::from_str(&text).unwrap(),
        picture::load(format!("{folder}/stickers.png")).unwrap(),
    )
}

/// Mean and largest absolute difference of two pictures.
fn difference(a: &RgbImage, b: &RgbImage) -> (f64, u8) {
    assert_eq!(a.dimensions(), b.dimensions());
    let each: Vec<u8> = a
        .as_raw()
        .iter()
        .zip(b.as_raw())
        .map(|(a, b)| a.abs_diff(*b))
        .collect();
    (
        each.iter().map(|d| f64::from(*d)).sum::<f64>() / each.len() as f64,
        each.into_iter().max().unwrap(),
    )
}

/// Bit for bit where sines are the C library's; elsewhere at most 1/255 in a pixel and 0.01/255 on average.
#[test]
fn pictures_equal_the_prototypes() {
    let (cases, sheet) = golden();
    assert!(cases.len() >= 40);
    let scenes: HashSet<_> = cases.iter().map(|c| c.scene.scene).collect();
    assert_eq!(scenes.len(), Scene::ALL.len());
    for (i, case) in (0..).zip(&cases) {
        let expected = crop_imm(&sheet, i % ROW * SIDE, i / ROW * SIDE, SIDE, SIDE).to_image();
        let (mean, max) = difference(&world::draw(case), &expected);
        assert!(
            mean <= 0.01 && max <= 1,
            "case {i}, {:?}: mean {mean}, largest {max}",
            case.scene.scene
        );
    }
}

#[test]
fn subjects_lie_in_two_scenes_and_are_their_own() {
    let sixteen = subjects(0, 16, 64);
    let nouns: HashSet<_> = sixteen.iter().map(|s| s.class.clone()).collect();
    assert_eq!(nouns.len(), 16);
    for subject in &sixteen {
        assert_eq!(
            (subject.token.as_str(), subject.references.len()),
            ("[V]", 5)
        );
        assert!(
            subject
                .references
                .iter()
                .all(|r| r.picture.dimensions() == (64, 64) && r.caption.is_none())
        );
        let distinct: HashSet<_> = subject
            .references
            .iter()
            .map(|r| r.picture.as_raw())
            .collect();
        assert_eq!(distinct.len(), 5);
    }
    let names =
        |all: &[rpo_data::subject::Subject]| all.iter().map(|s| s.name.clone()).collect::<Vec<_>>();
    let more = subjects(0, 24, 64);
    assert_eq!(
        names(&more[..16]),
        names(&sixteen),
        "more subjects change none"
    );
    assert_eq!(
        more[3].references[2].picture,
        sixteen[3].references[2].picture
    );
    assert_ne!(names(&subjects(1, 16, 64)), names(&sixteen));
    let later = subjects(0, 100, 64);
    assert_eq!(later[75].name, format!("{}-2", later[0].name));
    assert_eq!(later[75].class, later[0].class);
    assert_ne!(
        later[75].look, later[0].look,
        "a noun comes back with another look"
    );
    let large = &subjects(0, 1, 96)[0].references[0].picture;
    assert_eq!(
        large,
        &picture::resize(&sixteen[0].references[0].picture, 96, 96)
    );
}

/// Looks are drawn from all patterns and are distinct from the plain sticker.
#[test]
fn looks_stand_out() {
    let looks = subjects::looks(0, 24);
    let kinds: HashSet<_> = looks
        .iter()
        .map(|l| l.pattern.as_ref().unwrap().kind)
        .collect();
    assert_eq!(kinds.len(), 4);
    for look in &looks {
        let (own, plain) = (look.draw(), Look::plain(&look.noun).draw());
        let changed = own
            .pixels()
            .zip(plain.pixels())
            .filter(|(a, b)| b.0[3] > 127 && a.0[..3] != b.0[..3])
            .count();
        assert!(changed > 200, "{}: {changed} pixels differ", look.noun);
        let reference = subjects::reference(0, look, 0);
        assert!(REFERENCE_SCENES.contains(&reference.scene.scene));
    }
}

#[test]
fn prompt_sets_share_nothing() {
    let set = prompts();
    assert_eq!(
        (set.train.len(), set.validation.len(), set.test.len()),
        (8, 8, 17)
    );
    let mut seen = HashSet::new();
    for part in [&set.train, &set.validation, &set.test] {
        let mut own = HashSet::new();
        let mut kinds = [0; 3];
        for template in part {
            check(template).unwrap();
            let text = fill(template, Some("[V]"), "dog");
            let caption = Caption::parse(&text).unwrap_or_else(|| panic!("{text:?} is no caption"));
            assert!(caption.token && !caption.photo);
            assert_eq!(caption.to_string(), text.replace("[V]", "[v]"));
            assert!(caption.scene.is_none_or(|s| !REFERENCE_SCENES.contains(&s)));
            assert!(own.insert(text));
            let named = [
                caption.scene.map(|s| s.words()),
                caption.colour.map(|c| c.word()),
                caption.accessory.map(|a| a.words()),
            ];
            for (count, attribute) in kinds.iter_mut().zip(named) {
                *count += i32::from(attribute.is_some());
                own.extend(attribute.map(str::to_string));
            }
        }
        assert!(
            kinds.iter().all(|k| *k >= 2),
            "scenes, colours and accessories: {kinds:?}"
        );
        assert!(
            seen.is_disjoint(&own),
            "shared: {:?}",
            seen.intersection(&own).collect::<Vec<_>>()
        );
        seen.extend(own);
    }
}

/// Outside the mask a picture equals its scene alone; inside it does not.
#[test]
fn masks_tell_sticker_from_scene() {
    for look in subjects::looks(0, 8) {
        let p = subjects::reference(0, &look, 1);
        let (mask, picture, scene) = (mask(&p.sticker), world::draw(&p), scene::draw(&p.scene));
        let mut covered = 0;
        for (x, y, pixel) in picture.enumerate_pixels() {
            match mask.get_pixel(x, y).0[0] {
                0 => assert_eq!(pixel.0, scene.get_pixel(x, y).0[..3]),
                255 => covered += 1,
                _ => {}
            }
        }
        assert!(
            (200..2200).contains(&covered),
            "{}: {covered} pixels",
            look.noun
        );
    }
}

#[test]
fn sampled_pictures_follow_the_shares() {
    let mut rng = stream(1, "shares", &[]);
    let captions: Vec<Caption> = (0..4000).map(|_| world::sample(&mut rng, 0.0).1).collect();
    let share =
        |f: &dyn Fn(&Caption) -> bool| captions.iter().filter(|c| f(c)).count() as f64 / 4000.0;
    let close = |a: f64, b: f64| (a - b).abs() < 4.5 * (b * (1.0 - b) / 4000.0).sqrt();
    assert!(close(share(&|c| c.colour.is_some()), 0.25));
    assert!(close(share(&|c| c.accessory.is_some()), 0.2));
    assert!(close(share(&|c| c.scene.is_some()), 0.92));
    assert!(close(share(&|c| c.token), 0.1));
    assert!(close(share(&|c| c.photo), 0.3));
    assert!(close(share(&|c| c.noun == "dog"), 1.0 / 76.0));
    assert!(captions.iter().all(|c| c.pattern.is_none()));
}

#[test]
fn texts_outside_the_grammar_are_refused() {
    for text in [
        "",
        "dog",
        "a ",
        "a hedgehog",
        "a dog in",
        "a dog wearing",
        "a dog wearing a top hatin a city",
        "a red blue dog",
        "a dog  at night",
    ] {
        assert_eq!(Caption::parse(text), None, "{text:?}");
    }
}

proptest! {
    #[test]
    fn captions_read_back(
        photo: bool, token: bool, noun in 0usize..76, colour in prop::option::of(0usize..8), pattern in prop::option::of(0usize..4),
        accessory in prop::option::of(0usize..5), scene in prop::option::of(0usize..16),
    ) {
        let caption = Caption {
            photo, token,
            noun: NOUNS[noun].to_string(),
            colour: colour.map(|i| ColourWord::ALL[i]),
            pattern: pattern.map(|i| PatternKind::ALL[i]),
            accessory: accessory.map(|i| Accessory::ALL[i]),
            scene: scene.map(|i| Scene::ALL[i]),
        };
        prop_assert_eq!(Caption::parse(&caption.to_string()), Some(caption));
    }
}

proptest! {
    // Each case draws two pictures.
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn samples_are_what_their_parameters_say(seed: u64, looks in 0.0f64..=1.0) {
        let (p, caption) = world::sample(&mut stream(seed, "sample", &[]), looks);
        prop_assert_eq!(&p.sticker.look.noun, &caption.noun);
        prop_assert_eq!(p.sticker.accessory, caption.accessory);
        prop_assert!(caption.scene.is_none_or(|s| s == p.scene.scene));
        let stored: Picture = serde_json::from_str(&serde_json::to_string(&p).unwrap()).unwrap();
        prop_assert_eq!(&world::draw(&stored), &world::draw(&p));
    }
}
