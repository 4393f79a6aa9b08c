//! StickerBench: a miniature DreamBench, unlimited, free and exact.
//!
//! A picture is 64 x 64 pixels: one Twemoji sticker in a drawn scene, with a caption that describes it exactly
//! ([`caption::Caption`]). A **subject** is a sticker with a look that no caption word names: a hue and a pattern over its
//! opaque pixels. Its references are in two scenes ([`REFERENCE_SCENES`]) which no prompt uses, so that copying their
//! background is visible.
//!
//! Everything random about a picture is a value in a parameter struct ([`world::Picture`]); drawing is a pure function of
//! it, equal to the Python prototype `scripts/micro/world.py` pixel by pixel (Pillow's resampling, rotation,
//! compositing and drawing are reimplemented in [`crate::resample`], [`rotate`] and [`raster`]).
//!
//! Twemoji graphics: Copyright Twitter, Inc and other contributors, CC-BY 4.0, from the crate `twemoji-assets`.

pub mod caption;
pub mod dataset;
pub mod identity;
pub mod prompts;
pub mod raster;
pub mod rotate;
pub mod scene;
pub mod splits;
pub mod sprites;
pub mod sticker;
pub mod subjects;
pub mod world;

pub use prompts::prompts;
pub use subjects::{REFERENCES, captions, named, names, noun_of, subjects};

/// Side of a picture in pixels.
pub const SIDE: u32 = 64;

/// The scenes of the reference pictures.
pub const REFERENCE_SCENES: [scene::Scene; 2] = [scene::Scene::WoodenFloor, scene::Scene::Street];
