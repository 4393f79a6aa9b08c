//! Drawing a scene from its parameters.

use image::{Rgba, RgbaImage};

use super::{SIDE, Scene, SceneParams};
use crate::resample::{Filter, resize_rgba};
use crate::stickerbench::raster::{
    Colour, alpha_composite, ellipse, ellipse_outline, line, point, polygon, rectangle,
};
use crate::stickerbench::sticker::Tint;

/// Colours of houses.
pub(super) const FACADES: [Colour; 4] = [
    [90, 100, 120],
    [130, 110, 100],
    [70, 80, 95],
    [150, 150, 160],
];

/// The scene as an opaque picture of 64 x 64 pixels, a pure function of its parameters.
pub fn draw(p: &SceneParams) -> RgbaImage {
    let mut to = backdrop(p);
    let hz = p.horizon;
    houses(&mut to, p);
    if let Some(dash) = p.dash {
        for x in (dash..SIDE).step_by(14) {
            rectangle(&mut to, [x, 52, x + 7, 54], [240, 240, 240]);
        }
    }
    for &[x, y] in &p.stars {
        point(&mut to, x, y, [255, 255, 220]);
    }
    if let Some(x) = p.orb {
        let (width, colour) = match p.scene {
            Scene::Night => (9, [250, 245, 200]),
            Scene::Moon => (11, [60, 120, 220]),
            _ => (9, [255, 240, 120]),
        };
        ellipse(&mut to, [x, 4, x + width, 4 + width], colour);
    }
    for &[x, y, r] in &p.craters {
        ellipse(&mut to, [x - r, y - r / 2, x + r, y + r / 2], [95, 95, 95]);
    }
    for &[x, y, r] in &p.bubbles {
        ellipse_outline(&mut to, [x - r, y - r, x + r, y + r], [200, 235, 255]);
    }
    ground(&mut to, p.scene, hz);
    for &[x, height, width] in &p.mountains {
        polygon(
            &mut to,
            &[(x - width, hz), (x, hz - height), (x + width, hz)],
            [110, 110, 125],
        );
        let snow = hz - height * 3 / 4;
        polygon(
            &mut to,
            &[
                (x - width / 4, snow),
                (x, hz - height),
                (x + width / 4, snow),
            ],
            [250, 250, 255],
        );
    }
    for tree in &p.trees {
        let mut leaves = resize_rgba(tree.kind.sticker(), tree.size, tree.size, Filter::Bicubic);
        if let Some(hue) = tree.hue {
            leaves = Tint {
                hue,
                value: Tint::VALUE,
            }
            .apply(&leaves);
        }
        alpha_composite(
            &mut to,
            &leaves,
            (tree.x, (hz - tree.size as i32 + 4).max(0)),
        );
    }
    to
}

fn backdrop(p: &SceneParams) -> RgbaImage {
    let (sky, ground) = p.scene.colours();
    RgbaImage::from_fn(SIDE as u32, SIDE as u32, |_, y| {
        let row = y as i32;
        if p.scene == Scene::Beach && (p.horizon - 5..p.horizon).contains(&row) {
            return Rgba([30, 120, 200, 255]);
        }
        let [top, bottom] = if row >= p.horizon {
            ground.unwrap_or(sky)
        } else {
            sky
        };
        // Rounded as by numpy's linspace and astype("uint8").
        let a = if row == SIDE - 1 {
            1.0
        } else {
            f64::from(y) * (1.0 / f64::from(SIDE - 1))
        };
        let mix = |c: usize| (f64::from(top[c]) * (1.0 - a) + f64::from(bottom[c]) * a) as u8;
        Rgba([mix(0), mix(1), mix(2), 255])
    })
}

/// Houses from the left border, with lit windows.
fn houses(to: &mut RgbaImage, p: &SceneParams) {
    let hz = p.horizon;
    let mut x = 0;
    for house in &p.buildings {
        let (w, h) = (house.width, house.height);
        rectangle(
            to,
            [x, hz - h, x + w, hz],
            FACADES[house.facade % FACADES.len()],
        );
        for y in (hz - h + 2..hz - 1).step_by(4) {
            for window in (x + 2..x + w - 1).step_by(4) {
                point(to, window, y, [250, 240, 150]);
            }
        }
        x += w + 1;
    }
}

/// Objects and plants on the ground.
fn ground(to: &mut RgbaImage, scene: Scene, hz: i32) {
    match scene {
        Scene::WoodenFloor => {
            for y in (hz..SIDE).step_by(5) {
                line(to, [0, y, SIDE, y], [100, 60, 30]);
            }
        }
        Scene::PurpleRug => rectangle(to, [0, hz, SIDE, hz + 2], [200, 170, 80]),
        Scene::PinkBlanket => {
            for k in (0..SIDE).step_by(12) {
                line(to, [k, 0, k, SIDE], [250, 200, 215]);
                line(to, [0, k, SIDE, k], [250, 200, 215]);
            }
        }
        Scene::WheatField => {
            for x in (0..SIDE).step_by(3) {
                line(to, [x, hz - 2, x + 1, hz + 5], [200, 150, 40]);
            }
        }
        Scene::GreenGrass => {
            for x in (0..SIDE).step_by(4) {
                line(to, [x, hz - 1, x + 1, hz + 3], [50, 130, 40]);
            }
        }
        _ => {}
    }
}
