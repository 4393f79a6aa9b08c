//! The parameters of a scene, and drawing them at random.

use rand::RngCore;
use serde::{Deserialize, Serialize};

use super::{SIDE, Scene, draw};
use crate::random::{below, between, choose};
use crate::stickerbench::sprites::Tree;

/// Every random draw of a scene; empty for what a scene does not have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SceneParams {
    /// Which scene.
    pub scene: Scene,
    /// First row of the ground, 26 to 42.
    pub horizon: i32,
    /// Houses from left to right.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub buildings: Vec<Building>,
    /// Left end of a street's first dash, 0 to 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dash: Option<i32>,
    /// `[x, y]` of stars.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stars: Vec<[i32; 2]>,
    /// Left end of the moon, the earth or the sun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orb: Option<i32>,
    /// `[x, y, radius]` of craters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub craters: Vec<[i32; 3]>,
    /// `[x, y, radius]` of bubbles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bubbles: Vec<[i32; 3]>,
    /// `[x, height, half width]` of mountains.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mountains: Vec<[i32; 3]>,
    /// Trees, from back to front.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trees: Vec<TreeParams>,
}

/// A house.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Building {
    /// Width in pixels, less one.
    pub width: i32,
    /// Height above the horizon.
    pub height: i32,
    /// Which of the four facades.
    pub facade: usize,
}

/// A tree.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TreeParams {
    /// Which tree.
    pub kind: Tree,
    /// Side in pixels, 16 to 30.
    pub size: u32,
    /// Hue of its leaves in autumn.
    pub hue: Option<f64>,
    /// Left end.
    pub x: i32,
}

/// Draws the parameters of a scene.
pub fn sample(scene: Scene, rng: &mut impl RngCore) -> SceneParams {
    const AUTUMN: [f64; 3] = [0.03, 0.08, 0.12];
    let horizon = between(rng, 26, 42);
    let anywhere = |rng: &mut _| below(rng, SIDE as usize) as i32;
    let mut buildings = Vec::new();
    if matches!(scene, Scene::City | Scene::Street) {
        let mut x = 0;
        while x < SIDE {
            let (width, height) = (between(rng, 6, 13), between(rng, 8, horizon - 4));
            buildings.push(Building {
                width,
                height,
                facade: below(rng, draw::FACADES.len()),
            });
            x += width + 1;
        }
    }
    let dash = (scene == Scene::Street).then(|| between(rng, 0, 8));
    let stars = match scene {
        Scene::Night | Scene::Moon => (0..16)
            .map(|_| [anywhere(rng), between(rng, 0, horizon - 1)])
            .collect(),
        _ => Vec::new(),
    };
    let orb = match scene {
        Scene::Night | Scene::Moon => Some(between(rng, 6, 49)),
        Scene::Desert => Some(between(rng, 5, 51)),
        _ => None,
    };
    let craters = match scene {
        Scene::Moon => (0..5)
            .map(|_| {
                [
                    anywhere(rng),
                    between(rng, horizon + 4, SIDE - 1),
                    between(rng, 2, 5),
                ]
            })
            .collect(),
        _ => Vec::new(),
    };
    let bubbles = match scene {
        Scene::UnderWater => (0..10)
            .map(|_| [anywhere(rng), anywhere(rng), between(rng, 1, 3)])
            .collect(),
        _ => Vec::new(),
    };
    let mountains = match scene {
        Scene::Mountain => (0..2)
            .map(|_| {
                [
                    between(rng, 5, 57),
                    between(rng, 14, 22),
                    between(rng, 14, 22),
                ]
            })
            .collect(),
        _ => Vec::new(),
    };
    let (count, kinds) = scene.trees();
    let trees = (0..count)
        .map(|_| {
            let (kind, size) = (*choose(rng, kinds), between(rng, 16, 30));
            let hue = (scene == Scene::AutumnLeaves).then(|| *choose(rng, &AUTUMN));
            TreeParams {
                kind,
                size: size as u32,
                hue,
                x: between(rng, 0, SIDE - size),
            }
        })
        .collect();
    SceneParams {
        scene,
        horizon,
        buildings,
        dash,
        stars,
        orb,
        craters,
        bubbles,
        mountains,
        trees,
    }
}
