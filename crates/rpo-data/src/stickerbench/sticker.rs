//! A sticker: its look (tint and pattern), its accessory and its placement.

use image::{GrayImage, Luma, RgbaImage};
use rand::RngCore;
use serde::{Deserialize, Serialize};

use super::raster::{alpha_composite, paste};
use super::rotate::rotate;
use super::sprites::{Accessory, STICKER_SIDE, sticker};
use crate::random::{below, between, chance, uniform};
use crate::resample::{Filter, resize_rgba};

/// A tint in one hue that keeps the shading.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tint {
    /// Hue, 0 to 1 around the colour circle.
    pub hue: f64,
    /// Brightness of the hue, 0.6 to 1.
    pub value: f64,
}

impl Tint {
    /// The brightness of a colour that a caption names.
    pub const VALUE: f64 = 0.85;

    /// With the light `l` of a pixel and the colour `c` of the hue: `0.35 l + value c (0.25 + 0.75 l)`.
    pub fn apply(self, picture: &RgbaImage) -> RgbaImage {
        let colour = hsv_to_rgb(self.hue, 1.0, 1.0);
        let mut out = picture.clone();
        for pixel in out.pixels_mut() {
            let scaled = [0, 1, 2].map(|c| f64::from(pixel.0[c]) / 255.0);
            let light = (scaled[0] + scaled[1] + scaled[2]) / 3.0;
            for (own, hue) in pixel.0.iter_mut().zip(colour) {
                let value = light * 0.35 + hue * (0.25 + 0.75 * light) * self.value;
                *own = (value.clamp(0.0, 1.0) * 255.0) as u8;
            }
        }
        out
    }
}

/// The kinds of patterns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PatternKind {
    /// Diagonal stripes.
    Stripes,
    /// Fourteen spots.
    Spots,
    /// A chequerboard.
    Checks,
    /// The left half.
    Halves,
}

impl PatternKind {
    /// All kinds.
    pub const ALL: [PatternKind; 4] = [
        PatternKind::Stripes,
        PatternKind::Spots,
        PatternKind::Checks,
        PatternKind::Halves,
    ];

    /// The adjective of captions that name a look (for training encoders).
    pub fn adjective(self) -> &'static str {
        match self {
            PatternKind::Stripes => "striped",
            PatternKind::Spots => "spotted",
            PatternKind::Checks => "checked",
            PatternKind::Halves => "twotone",
        }
    }
}

/// A coloured pattern over a sticker: a subject's own look.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pattern {
    /// Stripes, spots, checks or halves.
    pub kind: PatternKind,
    /// Hue, 0 to 1 around the colour circle.
    pub hue: f64,
    /// `[x, y, radius]` of the spots; empty for the other kinds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spots: Vec<[i32; 3]>,
}

impl Pattern {
    /// Draws the spots of a pattern, if it has any.
    pub fn sample(kind: PatternKind, hue: f64, rng: &mut impl RngCore) -> Pattern {
        let side = STICKER_SIDE as usize;
        let spots = match kind {
            PatternKind::Spots => (0..14)
                .map(|_| {
                    [
                        below(rng, side) as i32,
                        below(rng, side) as i32,
                        between(rng, 4, 7),
                    ]
                })
                .collect(),
            _ => Vec::new(),
        };
        Pattern { kind, hue, spots }
    }

    fn covers(&self, x: i32, y: i32) -> bool {
        match self.kind {
            PatternKind::Stripes => (x + y) / 7 % 2 == 0,
            PatternKind::Spots => self
                .spots
                .iter()
                .any(|&[cx, cy, r]| (x - cx).pow(2) + (y - cy).pow(2) < r * r),
            PatternKind::Checks => (x / 9 + y / 9) % 2 == 0,
            PatternKind::Halves => x < STICKER_SIDE as i32 / 2,
        }
    }

    /// Within the pattern, a pixel of light `l` becomes the pattern's colour times `0.35 + 0.65 l`.
    pub fn apply(&self, picture: &RgbaImage) -> RgbaImage {
        let colour = hsv_to_rgb(self.hue, 0.9, 0.95).map(|c| c * 255.0);
        let mut out = picture.clone();
        for (x, y, pixel) in out.enumerate_pixels_mut() {
            if self.covers(x as i32, y as i32) {
                let light = (0..3).map(|c| f64::from(pixel.0[c])).sum::<f64>() / 3.0 / 255.0;
                for (own, hue) in pixel.0.iter_mut().zip(colour) {
                    *own = (hue * (0.35 + 0.65 * light)) as u8;
                }
            }
        }
        out
    }
}

/// The appearance of a sticker before placement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Look {
    /// Which sticker: one of [`super::sprites::NOUNS`].
    pub noun: String,
    /// A tint over the whole sticker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tint: Option<Tint>,
    /// A pattern over the tinted sticker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<Pattern>,
}

impl Look {
    /// The original Twemoji sticker.
    pub fn plain(noun: &str) -> Look {
        Look {
            noun: noun.to_string(),
            tint: None,
            pattern: None,
        }
    }

    /// The 72 x 72 sticker in this look; empty (transparent) for an unknown noun.
    pub fn draw(&self) -> RgbaImage {
        let mut picture = sticker(&self.noun)
            .cloned()
            .unwrap_or_else(|| RgbaImage::new(STICKER_SIDE, STICKER_SIDE));
        if let Some(tint) = self.tint {
            picture = tint.apply(&picture);
        }
        if let Some(pattern) = &self.pattern {
            picture = pattern.apply(&picture);
        }
        picture
    }
}

/// Every random draw of a sticker's placement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Placement {
    /// Mirrored left to right.
    pub mirrored: bool,
    /// Side in pixels, 34 to 46.
    pub size: i32,
    /// Degrees counter-clockwise, -10 to 10.
    pub angle: f64,
    /// Shift to the right, -8 to 8.
    pub dx: i32,
    /// The row of its feet, 57 to 61.
    pub foot: i32,
}

impl Placement {
    /// Draws a placement.
    pub fn sample(rng: &mut impl RngCore) -> Placement {
        Placement {
            mirrored: chance(rng, 0.5),
            size: between(rng, 34, 46),
            angle: uniform(rng, -10.0, 10.0),
            dx: between(rng, -8, 8),
            foot: between(rng, 57, 61),
        }
    }
}

/// A placed sticker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StickerParams {
    /// Its look.
    pub look: Look,
    /// What it wears.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accessory: Option<Accessory>,
    /// Its placement.
    pub place: Placement,
}

/// The sticker alone, on a transparent picture of 64 x 64 pixels.
pub fn layer(p: &StickerParams) -> RgbaImage {
    let mut picture = p.look.draw();
    if p.place.mirrored {
        image::imageops::flip_horizontal_in_place(&mut picture);
    }
    let (width, height) = (110u32, 130u32);
    let mut canvas = RgbaImage::new(width, height);
    alpha_composite(&mut canvas, &picture, (19, 48));
    if let Some(accessory) = p.accessory {
        let (side, at) = if accessory == Accessory::Sunglasses {
            (56, (27, 46))
        } else {
            (44, (33, 14))
        };
        alpha_composite(
            &mut canvas,
            &resize_rgba(accessory.sticker(), side, side, Filter::Bicubic),
            at,
        );
    }
    let canvas = rotate(&canvas, p.place.angle, (55.0, 84.0));
    let scale = f64::from(p.place.size) / f64::from(STICKER_SIDE);
    let scaled = |length: u32| (f64::from(length) * scale) as u32;
    let canvas = resize_rgba(&canvas, scaled(width), scaled(height), Filter::Lanczos);
    let mut out = RgbaImage::new(super::SIDE, super::SIDE);
    let left = super::SIDE as i32 / 2 - canvas.width() as i32 / 2 + p.place.dx;
    paste(&mut out, &canvas, (left, p.place.foot - scaled(120) as i32));
    out
}

/// Coverage of each pixel by the sticker and its accessory, 0 to 255.
pub fn mask(p: &StickerParams) -> GrayImage {
    let layer = layer(p);
    GrayImage::from_fn(layer.width(), layer.height(), |x, y| {
        Luma([layer.get_pixel(x, y).0[3]])
    })
}

/// Python's `colorsys.hsv_to_rgb`, with the hue taken modulo 1.
pub fn hsv_to_rgb(hue: f64, s: f64, v: f64) -> [f64; 3] {
    let h = hue.rem_euclid(1.0);
    let i = (h * 6.0) as i32;
    let f = h * 6.0 - f64::from(i);
    let (p, q, t) = (v * (1.0 - s), v * (1.0 - s * f), v * (1.0 - s * (1.0 - f)));
    match i % 6 {
        0 => [v, t, p],
        1 => [q, v, p],
        2 => [p, v, t],
        3 => [p, q, v],
        4 => [t, p, v],
        _ => [v, p, q],
    }
}
