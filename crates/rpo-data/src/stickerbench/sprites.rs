//! The stickers: 72 x 72 RGBA pictures of Twemoji, by noun.
//!
//! Graphics: Copyright Twitter, Inc and other contributors, CC-BY 4.0.

use std::collections::HashMap;
use std::sync::LazyLock;

use image::RgbaImage;
use serde::{Deserialize, Serialize};
use twemoji_assets::png::{PngTwemojiAsset, codes};

/// Side of a sticker in pixels.
pub const STICKER_SIDE: u32 = 72;

/// The nouns of captions, in alphabetical order.
pub const NOUNS: [&str; 76] = {
    let mut nouns = [""; 76];
    let mut i = 0;
    while i < nouns.len() {
        nouns[i] = OBJECTS[i].0;
        i += 1;
    }
    nouns
};

const OBJECTS: [(&str, PngTwemojiAsset); 76] = [
    ("alien", codes::U_1F47E),
    ("apple", codes::U_1F34E),
    ("avocado", codes::U_1F951),
    ("backpack", codes::U_1F392),
    ("banana", codes::U_1F34C),
    ("basketball", codes::U_1F3C0),
    ("bear", codes::U_1F43B),
    ("bee", codes::U_1F41D),
    ("boot", codes::U_1F462),
    ("bus", codes::U_1F68C),
    ("butterfly", codes::U_1F98B),
    ("cactus", codes::U_1F335),
    ("cake", codes::U_1F382),
    ("camel", codes::U_1F42A),
    ("camera", codes::U_1F4F7),
    ("candle", codes::U_1F56F),
    ("car", codes::U_1F697),
    ("carrot", codes::U_1F955),
    ("cat", codes::U_1F431),
    ("chicken", codes::U_1F414),
    ("clock", codes::U_23F0),
    ("cow", codes::U_1F42E),
    ("crab", codes::U_1F980),
    ("crown", codes::U_1F451),
    ("dog", codes::U_1F436),
    ("dolphin", codes::U_1F42C),
    ("donut", codes::U_1F369),
    ("drum", codes::U_1F941),
    ("duck", codes::U_1F986),
    ("elephant", codes::U_1F418),
    ("fish", codes::U_1F420),
    ("football", codes::U_26BD),
    ("fox", codes::U_1F98A),
    ("frog", codes::U_1F438),
    ("ghost", codes::U_1F47B),
    ("gift", codes::U_1F381),
    ("guitar", codes::U_1F3B8),
    ("hamburger", codes::U_1F354),
    ("handbag", codes::U_1F45C),
    ("horse", codes::U_1F434),
    ("koala", codes::U_1F428),
    ("ladybug", codes::U_1F41E),
    ("lemon", codes::U_1F34B),
    ("lion", codes::U_1F981),
    ("monkey", codes::U_1F435),
    ("mouse", codes::U_1F42D),
    ("mushroom", codes::U_1F344),
    ("octopus", codes::U_1F419),
    ("owl", codes::U_1F989),
    ("panda", codes::U_1F43C),
    ("penguin", codes::U_1F427),
    ("pig", codes::U_1F437),
    ("pineapple", codes::U_1F34D),
    ("pizza", codes::U_1F355),
    ("plushie", codes::U_1F9F8),
    ("poo", codes::U_1F4A9),
    ("pumpkin", codes::U_1F383),
    ("rabbit", codes::U_1F430),
    ("robot", codes::U_1F916),
    ("rocket", codes::U_1F680),
    ("rose", codes::U_1F339),
    ("sailboat", codes::U_26F5),
    ("sneaker", codes::U_1F45F),
    ("snowman", codes::U_2603),
    ("strawberry", codes::U_1F353),
    ("sunflower", codes::U_1F33B),
    ("teapot", codes::U_1FAD6),
    ("television", codes::U_1F4FA),
    ("tiger", codes::U_1F42F),
    ("tractor", codes::U_1F69C),
    ("train", codes::U_1F682),
    ("turtle", codes::U_1F422),
    ("unicorn", codes::U_1F984),
    ("vase", codes::U_1F3FA),
    ("watermelon", codes::U_1F349),
    ("wolf", codes::U_1F43A),
];

static STICKERS: LazyLock<HashMap<&'static str, RgbaImage>> = LazyLock::new(|| {
    OBJECTS
        .iter()
        .map(|(noun, asset)| (*noun, decode(asset)))
        .collect()
});

/// The plain sticker of a noun, if it is one of [`NOUNS`].
pub fn sticker(noun: &str) -> Option<&'static RgbaImage> {
    STICKERS.get(noun)
}

/// A tree of the woods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tree {
    /// A conifer.
    Fir,
    /// A broad-leaved tree.
    Tree,
    /// A palm.
    Palm,
}

impl Tree {
    /// Its sticker.
    pub fn sticker(self) -> &'static RgbaImage {
        static TREES: LazyLock<[RgbaImage; 3]> =
            LazyLock::new(|| [&codes::U_1F332, &codes::U_1F333, &codes::U_1F334].map(decode));
        &TREES[self as usize]
    }
}

/// Something to wear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Accessory {
    /// A top hat.
    #[serde(rename = "a top hat")]
    TopHat,
    /// A crown.
    #[serde(rename = "a crown")]
    Crown,
    /// Sunglasses.
    #[serde(rename = "sunglasses")]
    Sunglasses,
    /// A graduation cap.
    #[serde(rename = "a graduation cap")]
    GraduationCap,
    /// A bow.
    #[serde(rename = "a bow")]
    Bow,
}

impl Accessory {
    /// All accessories.
    pub const ALL: [Accessory; 5] = [
        Accessory::TopHat,
        Accessory::Crown,
        Accessory::Sunglasses,
        Accessory::GraduationCap,
        Accessory::Bow,
    ];

    /// Its words after "wearing".
    pub fn words(self) -> &'static str {
        match self {
            Accessory::TopHat => "a top hat",
            Accessory::Crown => "a crown",
            Accessory::Sunglasses => "sunglasses",
            Accessory::GraduationCap => "a graduation cap",
            Accessory::Bow => "a bow",
        }
    }

    /// Its sticker.
    pub fn sticker(self) -> &'static RgbaImage {
        static ACCESSORIES: LazyLock<[RgbaImage; 5]> = LazyLock::new(|| {
            [
                &codes::U_1F3A9,
                &codes::U_1F451,
                &codes::U_1F576,
                &codes::U_1F393,
                &codes::U_1F380,
            ]
            .map(decode)
        });
        &ACCESSORIES[self as usize]
    }
}

fn decode(asset: &PngTwemojiAsset) -> RgbaImage {
    image::load_from_memory(asset.data.0)
        .expect("the crate's pictures are whole PNG files")
        .into_rgba8()
}
