//! Pillow's `ImageDraw` on an RGBA picture: points, lines, rectangles, ellipses, triangles, and `alpha_composite`.
//!
//! Pixel for pixel after `libImaging/Draw.c` and `AlphaComposite.c` of Pillow 13 (MIT-CMU licence), for the cases that
//! StickerBench uses: opaque colours, filled shapes, outlines of width 1. Coordinates may lie outside the picture.

use image::{Rgba, RgbaImage};

/// An opaque colour.
pub type Colour = [u8; 3];

/// One pixel.
pub fn point(to: &mut RgbaImage, x: i32, y: i32, [r, g, b]: Colour) {
    if (0..to.width() as i32).contains(&x) && (0..to.height() as i32).contains(&y) {
        to.put_pixel(x as u32, y as u32, Rgba([r, g, b, 255]));
    }
}

/// The pixels `x0..=x1` of row `y`; nothing if `x1 < x0`.
fn row(to: &mut RgbaImage, x0: i32, y: i32, x1: i32, colour: Colour) {
    for x in x0.max(0)..=x1.min(to.width() as i32 - 1) {
        point(to, x, y, colour);
    }
}

/// A filled rectangle, both corners included.
pub fn rectangle(to: &mut RgbaImage, [x0, y0, x1, y1]: [i32; 4], colour: Colour) {
    for y in y0.max(0)..=y1.min(to.height() as i32 - 1) {
        row(to, x0, y, x1, colour);
    }
}

/// A line of width 1 by Bresenham's algorithm, both ends included.
pub fn line(to: &mut RgbaImage, [x0, y0, x1, y1]: [i32; 4], colour: Colour) {
    let (dx, dy) = ((x1 - x0).abs(), (y1 - y0).abs());
    let (step_x, step_y) = (if x1 < x0 { -1 } else { 1 }, if y1 < y0 { -1 } else { 1 });
    let flat = dx > dy;
    let (long, short) = if flat { (dx, dy) } else { (dy, dx) };
    let (mut x, mut y, mut error) = (x0, y0, 2 * short - long);
    for _ in 0..long {
        point(to, x, y, colour);
        if error >= 0 && short > 0 {
            if flat {
                y += step_y
            } else {
                x += step_x
            }
            error -= 2 * long;
        }
        error += 2 * short;
        if flat { x += step_x } else { y += step_y }
    }
    point(to, x1, y1, colour);
}

/// A filled ellipse in the box `[x0, y0, x1, y1]`, its borders included.
pub fn ellipse(to: &mut RgbaImage, bounds: [i32; 4], colour: Colour) {
    let (a, b) = (bounds[2] - bounds[0], bounds[3] - bounds[1]);
    draw_ellipse(to, bounds, a + b, colour);
}

/// The outline, one pixel wide, of an ellipse in the box `[x0, y0, x1, y1]`, its borders included.
pub fn ellipse_outline(to: &mut RgbaImage, bounds: [i32; 4], colour: Colour) {
    draw_ellipse(to, bounds, 1, colour);
}

/// The points of a quarter ellipse on a grid of step 2, from `(a, b mod 2)` to `(a mod 2, b)`.
struct Quarter {
    a2: i64,
    b2: i64,
    at: (i64, i64),
    end: (i64, i64),
    finished: bool,
}

impl Quarter {
    fn new(a: i64, b: i64) -> Self {
        Quarter {
            a2: a * a,
            b2: b * b,
            at: (a, b % 2),
            end: (a % 2, b),
            finished: a < 0 || b < 0,
        }
    }

    fn deviation(&self, (x, y): (i64, i64)) -> i64 {
        (self.a2 * y * y + self.b2 * x * x - self.a2 * self.b2).abs()
    }
}

impl Iterator for Quarter {
    type Item = (i64, i64);

    fn next(&mut self) -> Option<(i64, i64)> {
        if self.finished {
            return None;
        }
        let now @ (x, y) = self.at;
        if now == self.end {
            self.finished = true;
            return Some(now);
        }
        let mut best = (x, y + 2);
        // Pillow tests the *candidate* x, which is the current one here.
        if x > 1 {
            for next in [(x - 2, y + 2), (x - 2, y)] {
                if self.deviation(best) > self.deviation(next) {
                    best = next;
                }
            }
        }
        self.at = best;
        Some(now)
    }
}

/// Joins four quarters of an outer and an inner ellipse into rows (`ellipse_next` in `Draw.c`).
fn draw_ellipse(to: &mut RgbaImage, [x0, y0, x1, y1]: [i32; 4], width: i32, colour: Colour) {
    let (a, b) = (i64::from(x1 - x0), i64::from(y1 - y0));
    let thick = 2 * (i64::from(width) - 1);
    let (mut outer, mut inner) = (Quarter::new(a, b), Quarter::new(a - thick, b - thick));
    let leftmost = a % 2;
    let Some((mut right, mut level)) = outer.next().filter(|_| width >= 1) else {
        return;
    };
    let mut left = leftmost;
    loop {
        let (y, r) = (level, right);
        let mut l = left;
        let next_outer = outer.by_ref().find(|&(_, cy)| cy > y);
        let mut next_inner = None;
        for (cx, cy) in inner.by_ref() {
            if cy > y {
                next_inner = Some(cx);
                break;
            }
            l = cx;
        }
        left = next_inner.unwrap_or(leftmost);
        let mut segment = |from: i64, y: i64, until: i64| {
            row(
                to,
                x0 + ((from + a) / 2) as i32,
                y0 + ((y + b) / 2) as i32,
                x0 + ((until + a) / 2) as i32,
                colour,
            );
        };
        for level in [y, -y] {
            segment(-r, level, -l);
            if l > 0 || l < r {
                segment(if l == 0 { 2 } else { l }, level, r);
            }
        }
        match next_outer {
            Some((cx, cy)) => (right, level) = (cx, cy),
            None => return,
        }
    }
}

/// A filled polygon by scan lines (`polygon_generic` in `Draw.c`), for polygons without consecutive horizontal edges, such as
/// triangles. A corner shared by two edges is drawn as Pillow draws it.
pub fn polygon(to: &mut RgbaImage, corners: &[(i32, i32)], colour: Colour) {
    struct Edge {
        x0: i32,
        y0: i32,
        ymin: i32,
        ymax: i32,
        dx: f32,
    }
    impl Edge {
        fn at(&self, y: i32) -> f32 {
            (y - self.y0) as f32 * self.dx + self.x0 as f32
        }
        fn ends_at(&self, y: i32) -> bool {
            y == self.ymin || y == self.ymax
        }
    }
    let mut edges = Vec::new();
    let (mut top, mut bottom) = (to.height() as i32 - 1, 0);
    for (i, &(x0, y0)) in corners.iter().enumerate() {
        let (x1, y1) = corners[(i + 1) % corners.len()];
        (top, bottom) = (top.min(y0.min(y1)), bottom.max(y0.max(y1)));
        if y0 == y1 {
            row(to, x0.min(x1), y0, x0.max(x1), colour);
            continue;
        }
        let dx = (x1 - x0) as f32 / (y1 - y0) as f32;
        edges.push(Edge {
            x0,
            y0,
            ymin: y0.min(y1),
            ymax: y0.max(y1),
            dx,
        });
    }
    let bottom = bottom.min(to.height() as i32);
    for y in top.max(0)..=bottom {
        let mut crossings: Vec<f32> = Vec::new();
        for (i, edge) in edges
            .iter()
            .enumerate()
            .filter(|(_, e)| (e.ymin..=e.ymax).contains(&y))
        {
            let mut x = edge.at(y);
            if y == edge.ymax && y < bottom {
                crossings.push(x);
            } else if edge.ends_at(y) && edge.dx != 0.0 {
                let joins = |other: &&Edge| {
                    let next = y + if y == edge.ymax { -1 } else { 1 };
                    other.ends_at(y)
                        && other.dx != 0.0
                        && x.round() == other.at(y).round()
                        && (other.ymin..=other.ymax).contains(&next)
                };
                if let Some(other) = edges[..i].iter().find(joins) {
                    let next = y + if y == edge.ymax { -1 } else { 1 };
                    let (own, others) = (edge.at(next), other.at(next));
                    if x > own + 1.0 && x > others + 1.0 {
                        x = own.max(others).round() + 1.0;
                    } else if x < own - 1.0 && x < others - 1.0 {
                        x = own.min(others).round() - 1.0;
                    }
                }
            }
            crossings.push(x);
        }
        crossings.sort_by(f32::total_cmp);
        for pair in crossings.chunks_exact(2) {
            row(
                to,
                round_half_up(pair[0]),
                y,
                round_half_down(pair[1]),
                colour,
            );
        }
    }
}

/// To the nearest integer, halves away from zero (`ROUND_UP`).
fn round_half_up(x: f32) -> i32 {
    ((x.abs() + 0.5).floor() as i32) * if x < 0.0 { -1 } else { 1 }
}

/// To the nearest integer, halves towards zero (`ROUND_DOWN`).
fn round_half_down(x: f32) -> i32 {
    ((x.abs() - 0.5).ceil() as i32) * if x < 0.0 { -1 } else { 1 }
}

/// Composites `over` onto `to` with its upper left corner at `(x, y)`; parts outside are clipped.
pub fn alpha_composite(to: &mut RgbaImage, over: &RgbaImage, (x, y): (i32, i32)) {
    for (ox, oy, &source) in over.enumerate_pixels() {
        let (tx, ty) = (x + ox as i32, y + oy as i32);
        if (0..to.width() as i32).contains(&tx) && (0..to.height() as i32).contains(&ty) {
            let pixel = to.get_pixel_mut(tx as u32, ty as u32);
            *pixel = over_pixel(*pixel, source);
        }
    }
}

/// Copies `from` into `to` with its upper left corner at `(x, y)`, transparency included.
pub fn paste(to: &mut RgbaImage, from: &RgbaImage, (x, y): (i32, i32)) {
    for (fx, fy, &pixel) in from.enumerate_pixels() {
        let (tx, ty) = (x + fx as i32, y + fy as i32);
        if (0..to.width() as i32).contains(&tx) && (0..to.height() as i32).contains(&ty) {
            to.put_pixel(tx as u32, ty as u32, pixel);
        }
    }
}

/// Porter-Duff "over" with Pillow's integer rounding: 7 extra bits, rounded divisions.
fn over_pixel(Rgba(below): Rgba<u8>, Rgba(above): Rgba<u8>) -> Rgba<u8> {
    const BITS: u32 = 7;
    if above[3] == 0 {
        return Rgba(below);
    }
    let div255 = |v: u32| ((v >> 8) + v) >> 8;
    let alpha = u32::from(above[3]);
    let out_alpha = alpha * 255 + u32::from(below[3]) * (255 - alpha);
    let own = alpha * 255 * 255 * (1 << BITS) / out_alpha;
    let rest = 255 * (1 << BITS) - own;
    let blend = |c: usize| {
        let sum = u32::from(above[c]) * own + u32::from(below[c]) * rest;
        (div255(sum + (0x80 << BITS)) >> BITS) as u8
    };
    Rgba([blend(0), blend(1), blend(2), div255(out_alpha + 0x80) as u8])
}
