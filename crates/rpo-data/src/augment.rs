//! Custom Diffusion's augmentation (Kumari et al. 2023): a reference is shown smaller, at a random place on grey, or larger and
//! cropped, and its prompt says so.
//!
//! The numbers are those of diffusers' `train_custom_diffusion.py`, which squeezes a photo into the square; here it is cropped.

use image::RgbImage;
use rand::RngCore;

use crate::mask::Mask;
use crate::random::{below, chance};

/// What a prompt begins with where the reference is shown small (the first two) or large.
pub const PREFIXES: [&str; 4] = ["a far away ", "very small ", "zoomed in ", "close up "];

/// The one that takes most tokens.
pub const LONGEST: &str = PREFIXES[0];

/// Sides of a reference up to this share of the picture are called small.
const SMALL: f64 = 0.6;
/// The share of references that are not enlarged.
const NOT_ENLARGED: f64 = 0.66;
/// Enlarged sides: from the first share of the picture to below the second.
const ENLARGED: [f64; 2] = [1.2, 1.4];

/// The side up to which a reference is enlarged in pictures of `size`.
pub fn largest(size: u32) -> u32 {
    share(size, ENLARGED[1])
}

/// Rounded down, as Python's `int` does.
fn share(size: u32, of: f64) -> u32 {
    (f64::from(size) * of) as u32
}

/// How a reference is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Side of the picture.
    size: u32,
    /// Side of a cell of the latents in pixels.
    cell: u32,
    /// Side of the reference, which is a square.
    pub side: u32,
    /// The reference's corner in the picture, or the picture's in an enlarged reference.
    left: u32,
    top: u32,
    /// What its prompt begins with, of [`PREFIXES`].
    pub prefix: Option<usize>,
}

impl Shown {
    /// Draws side, place and words, for pictures of `size`, a multiple of `cell`.
    ///
    /// Of a reference of fewer than three cells the mask would be empty, so it is never shown smaller; with pictures of nine cells or
    /// more a third is larger than that.
    pub fn draw(rng: &mut impl RngCore, size: u32, cell: u32) -> Self {
        // Uniform in `low..high`; pictures of a few pixels may leave no room.
        let within = |rng: &mut _, low: u32, high: u32| {
            let room = high.saturating_sub(low).max(1);
            low + below(rng, room as usize) as u32
        };
        let side = match chance(rng, NOT_ENLARGED) {
            true => {
                let least = (size / 3).max(3 * cell).min(size);
                within(rng, least, size + 1)
            }
            false => {
                let [low, high] = ENLARGED.map(|of| share(size, of));
                within(rng, low.max(size + 1), high)
            }
        };
        let room = side.abs_diff(size) + 1;
        let (top, left) = (within(rng, 0, room), within(rng, 0, room));
        let words = if f64::from(side) < SMALL * f64::from(size) {
            Some(0)
        } else {
            (side > size).then_some(2)
        };
        Self {
            size,
            cell,
            side,
            left,
            top,
            prefix: words.map(|first| first + below(rng, 2)),
        }
    }

    /// The picture's values in [-1, 1], row by row, 0 around the reference, which is given as a square of [`Self::side`].
    pub fn values(&self, reference: &RgbImage) -> Vec<f32> {
        let mut values = vec![0f32; (self.size * self.size * 3) as usize];
        let side = self.side.min(self.size);
        // An enlarged reference is cropped at the corner, a small one begins there.
        let (from, to) = match self.side > self.size {
            true => ((self.left, self.top), (0, 0)),
            false => ((0, 0), (self.left, self.top)),
        };
        for y in 0..side {
            for x in 0..side {
                let pixel = reference.get_pixel(from.0 + x, from.1 + y).0;
                let at = (((to.1 + y) * self.size + to.0 + x) * 3) as usize;
                values[at..at + 3].copy_from_slice(&pixel.map(|v| f32::from(v) / 127.5 - 1.0));
            }
        }
        values
    }

    /// What counts at the latents: everything of an enlarged reference, of others the cells from that of the first pixel to that after
    /// the last, less one at each side, where the grey would be seen.
    pub fn mask(&self) -> Mask {
        let cells = self.size.checked_div(self.cell).unwrap_or(0) as usize;
        let within = |corner: u32, at: usize| {
            let [from, to] = [corner, corner + self.side].map(|at| (at / self.cell) as usize);
            (from + 1..to.saturating_sub(1)).contains(&at)
        };
        Mask::from_fn(cells, cells, |column, row| {
            let counts =
                self.side > self.size || within(self.left, column) && within(self.top, row);
            f32::from(u8::from(counts))
        })
    }
}
