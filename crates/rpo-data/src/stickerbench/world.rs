//! Whole pictures: a sticker in a scene, drawn or sampled with a caption.

use image::{DynamicImage, RgbImage};
use rand::RngCore;
use serde::{Deserialize, Serialize};

use super::caption::{Caption, ColourWord};
use super::raster::alpha_composite;
use super::scene::{self, Scene, SceneParams};
use super::sprites::{Accessory, NOUNS};
use super::sticker::{self, Look, Pattern, PatternKind, Placement, StickerParams, Tint};
use crate::random::{chance, choose, uniform, unit};

/// Every random draw of a picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Picture {
    /// The scene behind.
    pub scene: SceneParams,
    /// The sticker in front.
    pub sticker: StickerParams,
}

impl Picture {
    /// Draws the scene's details and the sticker's placement; look, accessory and scene are given.
    pub fn sample(
        look: Look,
        accessory: Option<Accessory>,
        scene: Scene,
        rng: &mut impl RngCore,
    ) -> Picture {
        let scene = scene::sample(scene, rng);
        Picture {
            scene,
            sticker: StickerParams {
                look,
                accessory,
                place: Placement::sample(rng),
            },
        }
    }

    /// The picture of a caption, with the sticker in `look` (for the true picture of a subject: its own look).
    /// The caption's colour tints the sticker under the look's pattern; a caption without a scene gets any scene.
    pub fn of_caption(caption: &Caption, mut look: Look, rng: &mut impl RngCore) -> Picture {
        if let Some(colour) = caption.colour {
            look.tint = Some(Tint {
                hue: colour.hue(),
                value: Tint::VALUE,
            });
        }
        let scene = caption.scene.unwrap_or_else(|| *choose(rng, &Scene::ALL));
        Picture::sample(look, caption.accessory, scene, rng)
    }
}

/// The picture, 64 x 64, a pure function of its parameters.
pub fn draw(p: &Picture) -> RgbImage {
    let mut picture = scene::draw(&p.scene);
    alpha_composite(&mut picture, &sticker::layer(&p.sticker), (0, 0));
    DynamicImage::ImageRgba8(picture).into_rgb8()
}

/// One captioned picture for pretraining: a quarter of the stickers in a colour that the caption names, a fifth with an
/// accessory; 8 % of the captions leave out the scene, 10 % carry the token `[v]`.
///
/// With probability `looks` the sticker has its own look, which the caption names in only 30 % of these cases: encoders learn
/// that "a dog" may have any look (`looks` = 0.5 for them), and a diffusion model learns to draw looks (0.3).
pub fn sample(rng: &mut impl RngCore, looks: f64) -> (Picture, Caption) {
    let mut look = Look::plain(choose::<&str>(rng, &NOUNS));
    let scene = *choose(rng, &Scene::ALL);
    let mut colour = chance(rng, 0.25).then(|| *choose(rng, &ColourWord::ALL));
    let accessory = chance(rng, 0.2).then(|| *choose(rng, &Accessory::ALL));
    if let Some(colour) = colour {
        look.tint = Some(Tint {
            hue: colour.hue() + uniform(rng, -0.02, 0.02),
            value: Tint::VALUE,
        });
    }
    let mut named = None;
    if chance(rng, looks) {
        if look.tint.is_none() && chance(rng, 0.5) {
            look.tint = Some(any_tint(rng));
        }
        let pattern = any_pattern(rng);
        if chance(rng, 0.3) {
            colour = Some(ColourWord::nearest(pattern.hue));
            named = Some(pattern.kind);
        }
        look.pattern = Some(pattern);
    }
    let caption = Caption {
        noun: look.noun.clone(),
        colour,
        pattern: named,
        accessory,
        scene: chance(rng, 0.92).then_some(scene),
        token: chance(rng, 0.1),
        photo: chance(rng, 0.3),
    };
    (Picture::sample(look, accessory, scene, rng), caption)
}

/// A random look, for training encoders on views of one subject: a tint with probability 0.6, a pattern with 0.6.
pub fn any_look(rng: &mut impl RngCore) -> Look {
    let mut look = Look::plain(choose::<&str>(rng, &NOUNS));
    look.tint = chance(rng, 0.6).then(|| any_tint(rng));
    look.pattern = chance(rng, 0.6).then(|| any_pattern(rng));
    look
}

fn any_tint(rng: &mut impl RngCore) -> Tint {
    Tint {
        hue: unit(rng),
        value: uniform(rng, 0.6, 1.0),
    }
}

fn any_pattern(rng: &mut impl RngCore) -> Pattern {
    let (kind, hue) = (*choose(rng, &PatternKind::ALL), unit(rng));
    Pattern::sample(kind, hue, rng)
}
