//! Masked identity: whether the sticker of a picture has the subject's look or its plain noun's, by the renderer alone.
//!
//! No encoder takes part, and nothing outside the sticker's mask: what an image judge credits to a copied background or to the
//! right scene cannot count here. A picture `x` is compared with renders of the subject, `T_q`, and of its plain noun, `U_q`, at
//! poses `q` (mirrored, size, angle, place), within the opaque pixels `M_q` of the render:
//!
//! `E_own = min_q mean over M_q of |x - T_q|²`, `E_plain = min_q mean over M_q of |x - U_q|²`,
//! `identity = (E_plain - E_own) / (E_plain + E_own)`, in `[-1, 1]`:
//! 1 is the subject, -1 its plain noun, 0 is neither (another thing, another look, or half of the look).

use image::{RgbImage, Rgba};

use super::SIDE;
use super::caption::ColourWord;
use super::sticker::{Look, Placement, StickerParams, Tint, layer};
use crate::picture::resize;

/// Sizes of the poses in pixels, as [`Placement`] has them.
const SIZES: [i32; 7] = [34, 36, 38, 40, 42, 44, 46];
/// Angles of the poses in degrees.
const ANGLES: [f64; 5] = [-10.0, -5.0, 0.0, 5.0, 10.0];
/// Largest shift to the side; two pixels more than a render has.
const ASIDE: i32 = 10;
/// Largest shift up or down of the middle of the rows where feet are.
const UP: i32 = 4;
/// The middle of these rows.
const FOOT: i32 = 59;

/// An opaque pixel of a render at its place without a shift.
struct Pixel {
    at: [i32; 2],
    own: [f32; 3],
    plain: [f32; 3],
}

/// A subject and its plain noun at every pose.
pub struct Masked {
    poses: Vec<Vec<Pixel>>,
}

impl std::fmt::Debug for Masked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Masked({} poses)", self.poses.len())
    }
}

impl Masked {
    /// The renders of a subject with this look. The colour of the picture's caption tints both the
    /// subject and its noun under the pattern, as a render of the caption has it.
    pub fn new(look: &Look, colour: Option<ColourWord>) -> Self {
        let tint = colour.map(|c| Tint {
            hue: c.hue(),
            value: Tint::VALUE,
        });
        let own = Look {
            tint: tint.or(look.tint),
            ..look.clone()
        };
        let plain = Look {
            tint,
            ..Look::plain(&look.noun)
        };
        let turned = |size: i32| ANGLES.into_iter().map(move |angle| (size, angle));
        let poses = SIZES
            .into_iter()
            .flat_map(turned)
            .flat_map(|(size, angle)| {
                let [own, plain] = [&own, &plain].map(|look| {
                    layer(&StickerParams {
                        look: look.clone(),
                        accessory: None,
                        place: Placement {
                            mirrored: false,
                            size,
                            angle,
                            dx: 0,
                            foot: FOOT,
                        },
                    })
                });
                let opaque = own.enumerate_pixels().filter(|(_, _, p)| p.0[3] >= 250);
                let colours = |p: &Rgba<u8>| [0, 1, 2].map(|c| f32::from(p.0[c]) / 255.0);
                let pixel = |(x, y, p): (u32, u32, &Rgba<u8>)| Pixel {
                    at: [x as i32, y as i32],
                    own: colours(p),
                    plain: colours(plain.get_pixel(x, y)),
                };
                let pose: Vec<Pixel> = opaque.map(pixel).collect();
                // The mirror image of a sticker at -angle is the mirrored sticker at angle, up to rounding.
                let mirrored = pose.iter().map(|p| Pixel {
                    at: [SIDE as i32 - 1 - p.at[0], p.at[1]],
                    ..*p
                });
                [mirrored.collect(), pose]
            });
        Self {
            poses: poses.collect(),
        }
    }

    /// The masked identity of a picture; one of another size is resized to 64 x 64 pixels.
    pub fn identity(&self, picture: &RgbImage) -> f64 {
        let resized = (picture.dimensions() != (SIDE, SIDE)).then(|| resize(picture, SIDE, SIDE));
        let pixels = resized.as_ref().unwrap_or(picture).pixels();
        let values: Vec<[f32; 3]> = pixels.map(|p| p.0.map(|v| f32::from(v) / 255.0)).collect();
        let (mut own, mut plain) = (Best::default(), Best::default());
        for pose in &self.poses {
            for dy in (-UP..=UP).step_by(2) {
                for dx in (-ASIDE..=ASIDE).step_by(2) {
                    let [e_own, e_plain] = errors(pose.iter().step_by(2), &values, [dx, dy]);
                    own.offer(e_own, pose, [dx, dy]);
                    plain.offer(e_plain, pose, [dx, dy]);
                }
            }
        }
        let (own, plain) = (own.refined(&values, 0), plain.refined(&values, 1));
        match own + plain {
            sum if sum > 0.0 && sum.is_finite() => (plain - own) / sum,
            _ => 0.0,
        }
    }
}

/// The pose and shift of the least error.
struct Best<'a> {
    error: f64,
    pose: &'a [Pixel],
    by: [i32; 2],
}

impl Default for Best<'_> {
    fn default() -> Self {
        Self {
            error: f64::INFINITY,
            pose: &[],
            by: [0; 2],
        }
    }
}

impl<'a> Best<'a> {
    fn offer(&mut self, error: f64, pose: &'a [Pixel], by: [i32; 2]) {
        if error < self.error {
            *self = Self { error, pose, by };
        }
    }

    /// The least error among the shifts around.
    fn refined(&self, picture: &[[f32; 3]], which: usize) -> f64 {
        let around = (-1..=1).flat_map(|dy| (-1..=1).map(move |dx| [dx, dy]));
        around
            .map(|[dx, dy]| {
                errors(
                    self.pose.iter(),
                    picture,
                    [self.by[0] + dx, self.by[1] + dy],
                )[which]
            })
            .fold(f64::INFINITY, f64::min)
    }
}

/// Mean squared differences of a picture and pixels of a shifted pose, `[own, plain]`; pixels outside the picture do not count,
/// unless they are more than half.
fn errors<'a>(
    pose: impl ExactSizeIterator<Item = &'a Pixel>,
    picture: &[[f32; 3]],
    [dx, dy]: [i32; 2],
) -> [f64; 2] {
    let (side, all) = (SIDE as i32, pose.len());
    let (mut own, mut plain, mut count) = (0.0f32, 0.0f32, 0usize);
    for pixel in pose {
        let [x, y] = [pixel.at[0] + dx, pixel.at[1] + dy];
        if !(0..side).contains(&x) || !(0..side).contains(&y) {
            continue;
        }
        let value = picture[(y * side + x) as usize];
        own += squared(value, pixel.own);
        plain += squared(value, pixel.plain);
        count += 1;
    }
    if count * 2 < all.max(1) {
        return [f64::INFINITY; 2];
    }
    [own, plain].map(|sum| f64::from(sum) / (3 * count) as f64)
}

fn squared(a: [f32; 3], b: [f32; 3]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum()
}
