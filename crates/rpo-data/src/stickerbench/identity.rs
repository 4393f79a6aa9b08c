//! Masked identity: whether the sticker of a picture has the subject's look or its plain noun's, by the renderer alone.
//!
//! No encoder takes part, and nothing outside the sticker's mask: what an image judge credits to a copied background or to the
//! right scene cannot count here. A picture `x` is compared with renders of the subject, `T_q`, and of its plain noun, `U_q`, at
//! poses `q` (mirrored, size, angle, place), within the opaque pixels `M_q` of the render:
//!
//! `E_own = min_q mean over M_q of |x - T_q|²`, `E_plain = min_q mean over M_q of |x - U_q|²`,
//! `identity = (E_plain - E_own) / (E_plain + E_own)`, in `[-1, 1]`:
//! 1 is the subject, -1 its plain noun, 0 is neither (another thing, another look, or half of the look).

use image::{RgbImage, RgbaImage};

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

/// A run of opaque pixels in one row of a render.
struct Run {
    /// Column and row of the first, without a shift.
    at: [i32; 2],
    /// Colours of the subject, three numbers a pixel.
    own: Vec<i16>,
    /// Colours of its plain noun.
    plain: Vec<i16>,
}

/// The opaque pixels of one pose.
struct Pose(Vec<Run>);

impl Pose {
    fn of(own: &RgbaImage, plain: &RgbaImage) -> Self {
        let mut runs: Vec<Run> = Vec::new();
        for (x, y, pixel) in own.enumerate_pixels().filter(|(_, _, p)| p.0[3] >= 250) {
            let at = [x as i32, y as i32];
            let goes_on = |run: &Run| [run.at[0] + run.own.len() as i32 / 3, run.at[1]] == at;
            if !runs.last().is_some_and(goes_on) {
                runs.push(Run {
                    at,
                    own: Vec::new(),
                    plain: Vec::new(),
                });
            }
            if let Some(run) = runs.last_mut() {
                run.own.extend(colours(pixel.0));
                run.plain.extend(colours(plain.get_pixel(x, y).0));
            }
        }
        Self(runs)
    }

    /// The mirror image. That of a sticker at -angle is the mirrored sticker at angle, up to rounding.
    fn mirrored(&self) -> Self {
        let back = |values: &[i16]| values.rchunks(3).flatten().copied().collect();
        let run = |run: &Run| Run {
            at: [
                SIDE as i32 - run.at[0] - run.own.len() as i32 / 3,
                run.at[1],
            ],
            own: back(&run.own),
            plain: back(&run.plain),
        };
        Self(self.0.iter().map(run).collect())
    }
}

fn colours(pixel: [u8; 4]) -> [i16; 3] {
    [0, 1, 2].map(|c| i16::from(pixel[c]))
}

/// A subject and its plain noun at every pose.
pub struct Masked {
    poses: Vec<Pose>,
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
                let pose = Pose::of(&own, &plain);
                [pose.mirrored(), pose]
            });
        Self {
            poses: poses.collect(),
        }
    }

    /// The masked identity of a picture; one of another size is resized to 64 x 64 pixels.
    pub fn identity(&self, picture: &RgbImage) -> f64 {
        let resized = (picture.dimensions() != (SIDE, SIDE)).then(|| resize(picture, SIDE, SIDE));
        let pixels = resized.as_ref().unwrap_or(picture).pixels();
        let values: Vec<i16> = pixels.flat_map(|p| p.0.map(i16::from)).collect();
        let (mut own, mut plain) = (Best::default(), Best::default());
        for pose in &self.poses {
            for dy in (-UP..=UP).step_by(2) {
                for dx in (-ASIDE..=ASIDE).step_by(2) {
                    let [e_own, e_plain] = errors(pose, &values, [dx, dy]);
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
    pose: Option<&'a Pose>,
    by: [i32; 2],
}

impl Default for Best<'_> {
    fn default() -> Self {
        Self {
            error: f64::INFINITY,
            pose: None,
            by: [0; 2],
        }
    }
}

impl<'a> Best<'a> {
    fn offer(&mut self, error: f64, pose: &'a Pose, by: [i32; 2]) {
        if error < self.error {
            let pose = Some(pose);
            *self = Self { error, pose, by };
        }
    }

    /// The least error among the shifts around.
    fn refined(&self, picture: &[i16], which: usize) -> f64 {
        let around = (-1..=1).flat_map(|dy| (-1..=1).map(move |dx| [dx, dy]));
        let moved = around.map(|[dx, dy]| [self.by[0] + dx, self.by[1] + dy]);
        let poses = moved.filter_map(|by| Some(errors(self.pose?, picture, by)[which]));
        poses.fold(f64::INFINITY, f64::min)
    }
}

/// Mean squared differences of a picture and a shifted pose, `[own, plain]`; pixels outside the picture do not
/// count, unless they are more than half. Integers, so that the sum has any order.
fn errors(pose: &Pose, picture: &[i16], [dx, dy]: [i32; 2]) -> [f64; 2] {
    let side = SIDE as i32;
    let (mut sums, mut counted, mut all) = ([0i32; 2], 0usize, 0usize);
    for run in &pose.0 {
        let length = run.own.len() as i32 / 3;
        all += length as usize;
        let [x, y] = [run.at[0] + dx, run.at[1] + dy];
        let (first, end) = ((-x).max(0), length.min(side - x));
        if !(0..side).contains(&y) || first >= end {
            continue;
        }
        let seen = &picture[3 * (y * side + x + first) as usize..3 * (y * side + x + end) as usize];
        let part = 3 * first as usize..3 * end as usize;
        sums[0] += squared(seen, &run.own[part.clone()]);
        sums[1] += squared(seen, &run.plain[part]);
        counted += (end - first) as usize;
    }
    if counted * 2 < all.max(1) {
        return [f64::INFINITY; 2];
    }
    sums.map(|sum| f64::from(sum) / (3 * counted) as f64)
}

/// At most 64 x 64 x 3 squares below 2¹⁶ fit into an `i32`.
fn squared(a: &[i16], b: &[i16]) -> i32 {
    let difference = |(a, b): (&i16, &i16)| i32::from(*a) - i32::from(*b);
    a.iter().zip(b).map(difference).map(|d| d * d).sum()
}
