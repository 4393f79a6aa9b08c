//! Pillow's `Image.resize` for 8-bit RGB, bit for bit: two passes with 22-bit fixed-point weights.
//!
//! The scores of published encoders were made with Pillow, and a resize that rounds otherwise moves them.
//! Source: `src/libImaging/Resample.c` and `Geometry.c` of Pillow 12, which always resizes horizontally first. Pillow 13
//! turns the passes round where the height shrinks much more than the width; next to hard edges that is a few levels.

use image::RgbImage;

/// Pillow's filters; the number is the `resample` key of a `preprocessor_config.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// 0
    Nearest,
    /// 1
    Lanczos,
    /// 2
    Bilinear,
    /// 3
    Bicubic,
    /// 4
    Box,
    /// 5
    Hamming,
}

impl Filter {
    /// The filter that Pillow numbers `code`, if there is one.
    pub fn from_code(code: u64) -> Option<Self> {
        Some(match code {
            0 => Self::Nearest,
            1 => Self::Lanczos,
            2 => Self::Bilinear,
            3 => Self::Bicubic,
            4 => Self::Box,
            5 => Self::Hamming,
            _ => return None,
        })
    }

    /// Half the width of the filter, in pixels of the coarser grid.
    fn support(self) -> f64 {
        match self {
            Self::Nearest => 0.0,
            Self::Box => 0.5,
            Self::Bilinear | Self::Hamming => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        let distance = x.abs();
        match self {
            Self::Nearest => 0.0,
            Self::Box => f64::from(x > -0.5 && x <= 0.5),
            Self::Bilinear => (1.0 - distance).max(0.0),
            Self::Hamming if distance == 0.0 => 1.0,
            Self::Hamming if distance >= 1.0 => 0.0,
            Self::Hamming => {
                let t = distance * std::f64::consts::PI;
                t.sin() / t * (0.54 + 0.46 * t.cos())
            }
            Self::Bicubic => {
                const A: f64 = -0.5;
                if distance < 1.0 {
                    ((A + 2.0) * distance - (A + 3.0)) * distance * distance + 1.0
                } else if distance < 2.0 {
                    (((distance - 5.0) * distance + 8.0) * distance - 4.0) * A
                } else {
                    0.0
                }
            }
            Self::Lanczos => {
                if (-3.0..3.0).contains(&x) {
                    sinc(x) * sinc(x / 3.0)
                } else {
                    0.0
                }
            }
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    let t = x * std::f64::consts::PI;
    t.sin() / t
}

/// Resizes `image` to `width` x `height` as Pillow 12 does, without `reducing_gap`: horizontally, then vertically.
///
/// An axis whose length does not change is left as it is. All four lengths must be above zero.
pub fn resize(image: &RgbImage, width: u32, height: u32, filter: Filter) -> RgbImage {
    if image.dimensions() == (width, height) {
        return image.clone();
    }
    if filter == Filter::Nearest {
        return nearest(image, width, height);
    }
    let horizontal;
    let mut current = image;
    if image.width() != width {
        horizontal = pass_horizontal(current, &Taps::new(image.width(), width, filter));
        current = &horizontal;
    }
    if image.height() != height {
        return pass_vertical(current, &Taps::new(image.height(), height, filter));
    }
    current.clone()
}

/// Bits after the point of a weight: 8 bits are the pixel's, 2 are kept for overshoot.
const PRECISION: u32 = 32 - 8 - 2;

/// The source pixels of every target pixel of one axis, and their weights.
struct Taps {
    /// First source index and number of weights, for every target index.
    ranges: Vec<(usize, usize)>,
    /// `stride` places for every target index.
    weights: Vec<i32>,
    stride: usize,
}

impl Taps {
    fn new(source: u32, target: u32, filter: Filter) -> Self {
        let scale = f64::from(source) / f64::from(target);
        let filter_scale = scale.max(1.0);
        let support = filter.support() * filter_scale;
        let stride = support.ceil() as usize * 2 + 1;
        let mut ranges = Vec::with_capacity(target as usize);
        let mut weights = vec![0; stride * target as usize];
        let mut exact = vec![0.0; stride];
        for (index, slots) in weights.chunks_exact_mut(stride).enumerate() {
            let center = (index as f64 + 0.5) * scale;
            // Truncation towards zero, as C casts do; negative starts are clamped.
            let start = ((center - support + 0.5) as i64).max(0) as usize;
            let end = ((center + support + 0.5) as i64).min(i64::from(source)) as usize;
            let count = end - start;
            let mut total = 0.0;
            for (k, weight) in exact[..count].iter_mut().enumerate() {
                *weight = filter.weight(((k + start) as f64 - center + 0.5) * (1.0 / filter_scale));
                total += *weight;
            }
            for (slot, weight) in slots.iter_mut().zip(&exact[..count]) {
                let weight = if total != 0.0 {
                    weight / total
                } else {
                    *weight
                };
                let scaled = weight * f64::from(1u32 << PRECISION);
                *slot = (if weight < 0.0 {
                    scaled - 0.5
                } else {
                    scaled + 0.5
                }) as i32;
            }
            ranges.push((start, count));
        }
        Self {
            ranges,
            weights,
            stride,
        }
    }

    fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.ranges
            .iter()
            .zip(self.weights.chunks_exact(self.stride))
            .map(|(&(start, count), slots)| (start, &slots[..count]))
    }
}

const HALF: i32 = 1 << (PRECISION - 1);

fn clip(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

fn pass_horizontal(image: &RgbImage, taps: &Taps) -> RgbImage {
    let (width, height) = (taps.ranges.len(), image.height() as usize);
    let source_row = image.width() as usize * 3;
    let mut out = vec![0u8; width * height * 3];
    for (row, target) in image
        .as_raw()
        .chunks_exact(source_row)
        .zip(out.chunks_exact_mut(width * 3))
    {
        for ((start, weights), pixel) in taps.iter().zip(target.chunks_exact_mut(3)) {
            let mut sums = [HALF; 3];
            for (weight, rgb) in weights.iter().zip(row[start * 3..].chunks_exact(3)) {
                for (sum, &value) in sums.iter_mut().zip(rgb) {
                    *sum += weight * i32::from(value);
                }
            }
            for (value, sum) in pixel.iter_mut().zip(sums) {
                *value = clip(sum);
            }
        }
    }
    from_bytes(width, height, out)
}

fn pass_vertical(image: &RgbImage, taps: &Taps) -> RgbImage {
    let (width, height) = (image.width() as usize, taps.ranges.len());
    let row = width * 3;
    let source = image.as_raw();
    let mut out = vec![0u8; row * height];
    let mut sums = vec![HALF; row];
    for ((start, weights), target) in taps.iter().zip(out.chunks_exact_mut(row)) {
        sums.fill(HALF);
        for (weight, line) in weights.iter().zip(source[start * row..].chunks_exact(row)) {
            for (sum, &value) in sums.iter_mut().zip(line) {
                *sum += weight * i32::from(value);
            }
        }
        for (value, &sum) in target.iter_mut().zip(&sums) {
            *value = clip(sum);
        }
    }
    from_bytes(width, height, out)
}

fn nearest(image: &RgbImage, width: u32, height: u32) -> RgbImage {
    // Pillow adds the step up instead of multiplying; so do we, for the same rounding.
    let places = |source: u32, target: u32| -> Vec<u32> {
        let step = f64::from(source) / f64::from(target);
        let mut at = step * 0.5;
        (0..target)
            .map(|_| {
                let place = (at as u32).min(source - 1);
                at += step;
                place
            })
            .collect()
    };
    let (columns, rows) = (places(image.width(), width), places(image.height(), height));
    RgbImage::from_fn(width, height, |x, y| {
        *image.get_pixel(columns[x as usize], rows[y as usize])
    })
}

fn from_bytes(width: usize, height: usize, bytes: Vec<u8>) -> RgbImage {
    RgbImage::from_raw(width as u32, height as u32, bytes)
        .expect("the buffer was made with this width and height")
}
