//! The sixteen scenes: a gradient of sky and ground with a horizon, and a few props.

mod draw;
mod params;

use serde::{Deserialize, Serialize};

use super::raster::Colour;
use super::sprites::Tree;

pub use draw::draw;
pub use params::{Building, SceneParams, TreeParams, sample};

const SIDE: i32 = super::SIDE as i32;

/// A scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Scene {
    /// "in the jungle"
    #[serde(rename = "in the jungle")]
    Jungle,
    /// "in the snow"
    #[serde(rename = "in the snow")]
    Snow,
    /// "on the beach"
    #[serde(rename = "on the beach")]
    Beach,
    /// "in a city"
    #[serde(rename = "in a city")]
    City,
    /// "in the desert"
    #[serde(rename = "in the desert")]
    Desert,
    /// "at night"
    #[serde(rename = "at night")]
    Night,
    /// "on the moon"
    #[serde(rename = "on the moon")]
    Moon,
    /// "under water"
    #[serde(rename = "under water")]
    UnderWater,
    /// "on a wooden floor"
    #[serde(rename = "on a wooden floor")]
    WoodenFloor,
    /// "on a purple rug"
    #[serde(rename = "on a purple rug")]
    PurpleRug,
    /// "in a wheat field"
    #[serde(rename = "in a wheat field")]
    WheatField,
    /// "with a mountain in the background"
    #[serde(rename = "with a mountain in the background")]
    Mountain,
    /// "on a street"
    #[serde(rename = "on a street")]
    Street,
    /// "with autumn leaves"
    #[serde(rename = "with autumn leaves")]
    AutumnLeaves,
    /// "on green grass"
    #[serde(rename = "on green grass")]
    GreenGrass,
    /// "on a pink blanket"
    #[serde(rename = "on a pink blanket")]
    PinkBlanket,
}

impl Scene {
    /// All scenes.
    pub const ALL: [Scene; 16] = [
        Scene::Jungle,
        Scene::Snow,
        Scene::Beach,
        Scene::City,
        Scene::Desert,
        Scene::Night,
        Scene::Moon,
        Scene::UnderWater,
        Scene::WoodenFloor,
        Scene::PurpleRug,
        Scene::WheatField,
        Scene::Mountain,
        Scene::Street,
        Scene::AutumnLeaves,
        Scene::GreenGrass,
        Scene::PinkBlanket,
    ];

    /// Its words at the end of a caption.
    pub fn words(self) -> &'static str {
        match self {
            Scene::Jungle => "in the jungle",
            Scene::Snow => "in the snow",
            Scene::Beach => "on the beach",
            Scene::City => "in a city",
            Scene::Desert => "in the desert",
            Scene::Night => "at night",
            Scene::Moon => "on the moon",
            Scene::UnderWater => "under water",
            Scene::WoodenFloor => "on a wooden floor",
            Scene::PurpleRug => "on a purple rug",
            Scene::WheatField => "in a wheat field",
            Scene::Mountain => "with a mountain in the background",
            Scene::Street => "on a street",
            Scene::AutumnLeaves => "with autumn leaves",
            Scene::GreenGrass => "on green grass",
            Scene::PinkBlanket => "on a pink blanket",
        }
    }

    /// Colours from top to bottom of the sky and, if there is a horizon, of the ground. Each gradient spans the whole picture;
    /// the horizon only selects between the two.
    fn colours(self) -> ([Colour; 2], Option<[Colour; 2]>) {
        match self {
            Scene::Jungle => (
                [[60, 120, 50], [30, 90, 40]],
                Some([[40, 80, 30], [20, 50, 20]]),
            ),
            Scene::Snow => (
                [[190, 215, 240], [225, 235, 250]],
                Some([[250, 250, 255], [230, 238, 248]]),
            ),
            Scene::Beach => (
                [[90, 180, 240], [160, 220, 250]],
                Some([[240, 215, 150], [225, 190, 120]]),
            ),
            Scene::City => (
                [[150, 180, 210], [210, 215, 220]],
                Some([[110, 110, 115], [80, 80, 85]]),
            ),
            Scene::Desert => (
                [[120, 190, 250], [250, 220, 180]],
                Some([[225, 160, 90], [190, 120, 60]]),
            ),
            Scene::Night => (
                [[5, 5, 30], [15, 15, 60]],
                Some([[20, 30, 30], [10, 15, 15]]),
            ),
            Scene::Moon => (
                [[0, 0, 0], [5, 5, 10]],
                Some([[150, 150, 150], [110, 110, 110]]),
            ),
            Scene::UnderWater => ([[40, 150, 220], [5, 40, 110]], None),
            Scene::WoodenFloor => (
                [[230, 220, 200], [215, 205, 190]],
                Some([[170, 110, 60], [140, 85, 45]]),
            ),
            Scene::PurpleRug => (
                [[225, 225, 220], [205, 205, 200]],
                Some([[120, 40, 150], [90, 20, 120]]),
            ),
            Scene::WheatField => (
                [[130, 190, 240], [200, 225, 245]],
                Some([[230, 190, 70], [200, 150, 40]]),
            ),
            Scene::Mountain => (
                [[120, 180, 240], [190, 215, 240]],
                Some([[90, 160, 70], [60, 120, 50]]),
            ),
            Scene::Street => (
                [[180, 200, 220], [200, 210, 220]],
                Some([[90, 90, 95], [60, 60, 65]]),
            ),
            Scene::AutumnLeaves => (
                [[200, 210, 230], [220, 215, 200]],
                Some([[170, 100, 40], [140, 70, 30]]),
            ),
            Scene::GreenGrass => (
                [[140, 200, 250], [200, 230, 250]],
                Some([[90, 190, 70], [60, 150, 50]]),
            ),
            Scene::PinkBlanket => ([[245, 170, 195], [230, 140, 175]], None),
        }
    }

    /// Number and kinds of trees.
    fn trees(self) -> (usize, &'static [Tree]) {
        match self {
            Scene::Jungle => (5, &[Tree::Palm, Tree::Tree]),
            Scene::Snow => (2, &[Tree::Fir]),
            Scene::Beach => (1, &[Tree::Palm]),
            Scene::AutumnLeaves => (3, &[Tree::Tree]),
            _ => (0, &[]),
        }
    }
}
