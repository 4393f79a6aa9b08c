//! StickerBench against the Python prototype (`scripts/golden/stickers.py`), and what its subjects and prompts promise.

use std::collections::HashSet;

use image::{RgbImage, imageops::crop_imm};
use proptest::prelude::*;
use rpo_data::random::stream;
use rpo_data::stickerbench::caption::{Caption, ColourWord};
use rpo_data::stickerbench::scene::{self, Scene};
use rpo_data::stickerbench::sprites::{Accessory, NOUNS};
use rpo_data::stickerbench::sticker::{Look, PatternKind, mask};
use rpo_data::stickerbench::world::{self, Picture};
use rpo_data::stickerbench::{REFERENCE_SCENES, SIDE, prompts, subjects};
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

/// Equal bit for bit but for sines, whose last bit is the machine's: at most 1/255 in a pixel, 0.01/255 on average.
#[test]
fn pictures_equal_the_prototypes() {
    let (cases, sheet) = golden();
    assert!(cases.len() >= 40);
    let mut worst = (0.0, 0);
    for (i, case) in cases.iter().enumerate() {
        let i = i as u32;
        let expected = crop_imm(&sheet, i % ROW * SIDE, i / ROW * SIDE, SIDE, SIDE).to_image();
        let (mean, max) = difference(&world::draw(case), &expected);
        if mean > 0.01 || max > 1 {
            println!("case {i}, {:?}: mean {mean}, max {max}", case.scene.scene);
        }
        worst = (f64::max(worst.0, mean), worst.1.max(max));
    }
    println!(
        "worst mean and largest difference over {} cases: {worst:?}",
        cases.len()
    );
    assert!(worst.0 <= 0.01 && worst.1 <= 1, "{worst:?}");
}
