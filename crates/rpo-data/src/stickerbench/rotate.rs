//! Pillow's `Image.rotate` with BICUBIC on RGBA pictures, pixel for pixel.
//!
//! After `libImaging/Geometry.c` of Pillow 13 (MIT-CMU licence): cubic convolution with a = -1 over the four nearest rows and
//! columns, clamped at the borders, on colours multiplied by alpha.

use image::{Rgba, RgbaImage};

use crate::resample::{premultiplied, unpremultiplied};

/// `Image.rotate(degrees, BICUBIC, center=center)` of an RGBA picture: counter-clockwise, same size, transparent outside.
pub fn rotate(picture: &RgbaImage, degrees: f64, center: (f64, f64)) -> RgbaImage {
    let source = premultiplied(picture);
    let radians = -(degrees.rem_euclid(360.0)).to_radians();
    let (cos, sin) = (round15(radians.cos()), round15(radians.sin()));
    let (minus_sin, cos_again) = (round15(-radians.sin()), cos);
    let offset_x = (cos * -center.0 + sin * -center.1) + center.0;
    let offset_y = (minus_sin * -center.0 + cos_again * -center.1) + center.1;
    let out = RgbaImage::from_fn(source.width(), source.height(), |x, y| {
        let (x, y) = (f64::from(x) + 0.5, f64::from(y) + 0.5);
        bicubic(
            &source,
            cos * x + sin * y + offset_x,
            minus_sin * x + cos_again * y + offset_y,
        )
    });
    unpremultiplied(out)
}

/// Python's `round(x, 15)`, via the decimal digits as Python does.
fn round15(x: f64) -> f64 {
    format!("{x:.15}")
        .parse()
        .expect("a formatted number is a number")
}

fn bicubic(source: &RgbaImage, x: f64, y: f64) -> Rgba<u8> {
    let (width, height) = (source.width() as i32, source.height() as i32);
    if x < 0.0 || x >= f64::from(width) || y < 0.0 || y >= f64::from(height) {
        return Rgba([0; 4]);
    }
    let (x, y) = (x - 0.5, y - 0.5);
    let (left, top) = (x.floor() as i32 - 1, y.floor() as i32 - 1);
    let (dx, dy) = (x - x.floor(), y - y.floor());
    let inside = |at: i32, length: i32| at.clamp(0, length - 1) as u32;
    let near: [[[u8; 4]; 4]; 4] = std::array::from_fn(|j| {
        let row = inside(top + j as i32, height);
        std::array::from_fn(|i| source.get_pixel(inside(left + i as i32, width), row).0)
    });
    // Most of the canvas around a sticker is empty.
    if near == [[[0; 4]; 4]; 4] {
        return Rgba([0; 4]);
    }
    Rgba(std::array::from_fn(|c| {
        let rows = near.map(|row| cubic(row.map(|pixel| f64::from(pixel[c])), dx));
        // The cast truncates as C's does, and clamps.
        cubic(rows, dy) as u8
    }))
}

fn cubic([v1, v2, v3, v4]: [f64; 4], d: f64) -> f64 {
    let p2 = -v1 + v3;
    let p3 = 2.0 * (v1 - v2) + v3 - v4;
    let p4 = -v1 + v2 - v3 + v4;
    v2 + d * (p2 + d * (p3 + d * p4))
}
