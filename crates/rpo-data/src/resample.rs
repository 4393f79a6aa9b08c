//! Resizing as Pillow's `Image.resize`, bit for bit: published encoder scores were computed with it.
//!
//! After `libImaging/Resample.c` and `Convert.c` of Pillow (MIT-CMU licence), with which diffusers and transformers resize
//! photos: two passes, horizontal and then vertical, 22-bit coefficients, 8 bits between the passes. Pictures with
//! transparency are multiplied by alpha before and divided by it afterwards.
//! Pillow 13 does the vertical pass first for some shapes that shrink more in height than in width; next to hard edges those
//! differ by a few levels. A square resized to a square never differs.

use std::f64::consts::PI;

use image::{Rgb, RgbImage, Rgba, RgbaImage};

/// Pillow's filters; the number is the `resample` key of a `preprocessor_config.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// 0: the nearest pixel.
    Nearest,
    /// 1: sinc windowed by a wider sinc, window 3.
    Lanczos,
    /// 2: a triangle.
    Bilinear,
    /// 3: cubic convolution with a = -0.5.
    Bicubic,
    /// 4: the mean.
    Box,
    /// 5: sinc windowed by Hamming's, window 1.
    Hamming,
}

impl Filter {
    /// The filter with Pillow's number `code`, if any.
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
        const A: f64 = -0.5;
        let sinc = |x: f64| {
            if x == 0.0 {
                1.0
            } else {
                (x * PI).sin() / (x * PI)
            }
        };
        let d = x.abs();
        match self {
            Self::Box if x > -0.5 && x <= 0.5 => 1.0,
            Self::Bilinear if d < 1.0 => 1.0 - d,
            Self::Hamming if d < 1.0 => sinc(d) * (0.54 + 0.46 * (d * PI).cos()),
            Self::Bicubic if d < 1.0 => ((A + 2.0) * d - (A + 3.0)) * d * d + 1.0,
            Self::Bicubic if d < 2.0 => (((d - 5.0) * d + 8.0) * d - 4.0) * A,
            Self::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            _ => 0.0,
        }
    }
}

/// `picture` at `width` x `height`. A picture without pixels gives a black one.
pub fn resize_rgb(picture: &RgbImage, width: u32, height: u32, filter: Filter) -> RgbImage {
    let pixels = resize::<3>(
        picture.as_raw(),
        picture.dimensions(),
        (width, height),
        filter,
    );
    RgbImage::from_raw(width, height, pixels)
        .unwrap_or_else(|| RgbImage::from_pixel(width, height, Rgb([0; 3])))
}

/// `picture` at `width` x `height`, its colours weighted by alpha. A picture without pixels gives a transparent one.
pub fn resize_rgba(picture: &RgbaImage, width: u32, height: u32, filter: Filter) -> RgbaImage {
    if picture.dimensions() == (width, height) {
        return picture.clone();
    }
    let from = premultiplied(picture);
    let pixels = resize::<4>(from.as_raw(), from.dimensions(), (width, height), filter);
    RgbaImage::from_raw(width, height, pixels)
        .map_or_else(|| RgbaImage::new(width, height), unpremultiplied)
}

const PRECISION: u32 = 22;
const HALF: i32 = 1 << (PRECISION - 1);

/// `C` interleaved channels; the result is empty if either picture has no pixels.
fn resize<const C: usize>(
    pixels: &[u8],
    from: (u32, u32),
    to: (u32, u32),
    filter: Filter,
) -> Vec<u8> {
    if from.0 == 0 || from.1 == 0 || to.0 == 0 || to.1 == 0 {
        return Vec::new();
    }
    if filter == Filter::Nearest {
        return nearest::<C>(pixels, from, to);
    }
    let wide = if from.0 == to.0 {
        pixels.to_vec()
    } else {
        horizontal::<C>(pixels, from.0, to.0, filter)
    };
    if from.1 == to.1 {
        wide
    } else {
        vertical(&wide, from.1, to.1, to.0 as usize * C, filter)
    }
}

fn nearest<const C: usize>(pixels: &[u8], from: (u32, u32), to: (u32, u32)) -> Vec<u8> {
    // Pillow accumulates the step instead of multiplying; so do we, for the same rounding.
    let places = |from: u32, to: u32| -> Vec<usize> {
        let step = f64::from(from) / f64::from(to);
        let mut at = step * 0.5;
        (0..to)
            .map(|_| {
                let place = (at as u32).min(from - 1);
                at += step;
                place as usize
            })
            .collect()
    };
    let columns = places(from.0, to.0);
    let mut out = Vec::with_capacity(to.0 as usize * to.1 as usize * C);
    for y in places(from.1, to.1) {
        let row = &pixels[y * from.0 as usize * C..];
        for x in &columns {
            out.extend_from_slice(&row[x * C..(x + 1) * C]);
        }
    }
    out
}

fn horizontal<const C: usize>(pixels: &[u8], from: u32, to: u32, filter: Filter) -> Vec<u8> {
    let taps = taps(from, to, filter);
    let mut out = Vec::with_capacity(pixels.len() / from as usize * to as usize);
    for row in pixels.chunks_exact(from as usize * C) {
        for (first, weights) in &taps {
            let mut sums = [HALF; C];
            for (pixel, &weight) in row[first * C..].as_chunks::<C>().0.iter().zip(weights) {
                for (sum, &value) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(value) * weight;
                }
            }
            out.extend(sums.map(clip));
        }
    }
    out
}

fn vertical(pixels: &[u8], from: u32, to: u32, stride: usize, filter: Filter) -> Vec<u8> {
    let mut out = Vec::with_capacity(stride * to as usize);
    for (first, weights) in taps(from, to, filter) {
        let mut sums = vec![HALF; stride];
        for (row, &weight) in pixels[first * stride..].chunks_exact(stride).zip(&weights) {
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum += i32::from(value) * weight;
            }
        }
        out.extend(sums.into_iter().map(clip));
    }
    out
}

fn clip(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// For every output pixel the first source pixel, and the weights from there on.
fn taps(from: u32, to: u32, filter: Filter) -> Vec<(usize, Vec<i32>)> {
    let scale = f64::from(from) / f64::from(to);
    let stretch = scale.max(1.0);
    let support = filter.support() * stretch;
    (0..to)
        .map(|out| {
            let center = (f64::from(out) + 0.5) * scale;
            let first = ((center - support + 0.5) as i64).max(0);
            let until = ((center + support + 0.5) as i64).min(i64::from(from));
            let weights: Vec<f64> = (first..until)
                .map(|i| filter.weight((i as f64 - center + 0.5) * (1.0 / stretch)))
                .collect();
            let sum: f64 = weights.iter().sum();
            let fixed = |w: &f64| {
                let w = if sum == 0.0 { *w } else { w / sum } * f64::from(1 << PRECISION);
                (if w < 0.0 { w - 0.5 } else { w + 0.5 }) as i32
            };
            (first as usize, weights.iter().map(fixed).collect())
        })
        .collect()
}

/// Colours multiplied by alpha, rounded.
pub(crate) fn premultiplied(picture: &RgbaImage) -> RgbaImage {
    let mut out = picture.clone();
    for Rgba([r, g, b, a]) in out.pixels_mut() {
        let alpha = u32::from(*a);
        for c in [r, g, b] {
            let v = u32::from(*c) * alpha + 128;
            *c = (((v >> 8) + v) >> 8) as u8;
        }
    }
    out
}

/// Colours divided by alpha, truncated.
pub(crate) fn unpremultiplied(mut picture: RgbaImage) -> RgbaImage {
    for Rgba([r, g, b, a]) in picture.pixels_mut() {
        if *a != 0 && *a != 255 {
            for c in [r, g, b] {
                *c = (255 * u32::from(*c) / u32::from(*a)).min(255) as u8;
            }
        }
    }
    picture
}
