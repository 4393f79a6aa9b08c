//! Masks: how much of each pixel of a photo, or of each cell of its latents, counts in a loss.

use image::GrayImage;

/// Weights in `[0, 1]`, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Mask {
    width: usize,
    height: usize,
    values: Vec<f32>,
}

impl Mask {
    /// White counts, black does not.
    pub fn of(picture: &GrayImage) -> Self {
        let weight = |value: &u8| f32::from(*value) / 255.0;
        Self {
            width: picture.width() as usize,
            height: picture.height() as usize,
            values: picture.as_raw().iter().map(weight).collect(),
        }
    }

    /// The weight of every `(column, row)`.
    pub fn from_fn(width: usize, height: usize, of: impl Fn(usize, usize) -> f32) -> Self {
        let places = (0..height).flat_map(|row| (0..width).map(move |column| (column, row)));
        Self {
            width,
            height,
            values: places.map(|(column, row)| of(column, row)).collect(),
        }
    }

    /// Width and height.
    pub fn dimensions(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// The weights, row by row.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Whether nothing counts.
    pub fn is_empty(&self) -> bool {
        self.values.iter().all(|value| *value == 0.0)
    }

    /// The part `[left, top, width, height]`, whose borders may lie within pixels, as `columns` x `rows` cells, each the mean over its
    /// area. One step from the photo to the latents: a mask that was resized as a picture before would have Lanczos' overshoots.
    pub fn area(&self, [left, top, width, height]: [f64; 4], columns: usize, rows: usize) -> Self {
        let across = spans(left, width, columns, self.width);
        let down = spans(top, height, rows, self.height);
        let mut values = Vec::with_capacity(columns * rows);
        for (first, weights) in &down {
            // The mean of the row's pixels, column by column, then of the columns of each cell.
            let mut line = vec![0f64; self.width];
            for (row, weight) in (*first..).zip(weights) {
                let row = &self.values[row * self.width..(row + 1) * self.width];
                for (sum, value) in line.iter_mut().zip(row) {
                    *sum += weight * f64::from(*value);
                }
            }
            values.extend(across.iter().map(|(first, weights)| {
                let cell = line[*first..].iter().zip(weights);
                cell.map(|(value, weight)| value * weight).sum::<f64>() as f32
            }));
        }
        Self {
            width: columns,
            height: rows,
            values,
        }
    }

    /// Left and right exchanged.
    pub fn mirrored(&self) -> Self {
        let last = self.width.saturating_sub(1);
        Self::from_fn(self.width, self.height, |column, row| {
            self.values[row * self.width + last - column]
        })
    }

    /// Whether each of the largest squares, wherever it lies, holds something that counts: what a random crop may show.
    pub fn is_in_every_square(&self) -> bool {
        let side = self.width.min(self.height);
        let lines: Vec<bool> = match self.width > self.height {
            true => (0..self.width)
                .map(|x| (0..self.height).any(|y| self.values[y * self.width + x] > 0.0))
                .collect(),
            false => (self.values.chunks(self.width.max(1)))
                .map(|row| row.iter().any(|value| *value > 0.0))
                .collect(),
        };
        side > 0 && lines.windows(side).all(|part| part.contains(&true))
    }
}

/// For each of `cells` equal parts of `length` from `start` on: the first of the `pixels` in it, and the share of the part in each from
/// there on. What lies outside of the pixels does not count.
fn spans(start: f64, length: f64, cells: usize, pixels: usize) -> Vec<(usize, Vec<f64>)> {
    let border = |cell: usize| {
        let at = start + length * cell as f64 / cells as f64;
        at.clamp(0.0, pixels as f64)
    };
    let span = |cell: usize| {
        let (low, high) = (border(cell), border(cell + 1));
        let (first, until) = (low.floor() as usize, high.ceil() as usize);
        let shared = |pixel: usize| (high.min(pixel as f64 + 1.0) - low.max(pixel as f64)).max(0.0);
        let weights: Vec<f64> = (first..until).map(shared).collect();
        let sum: f64 = weights.iter().sum();
        match sum > 0.0 {
            true => (first, weights.iter().map(|w| w / sum).collect()),
            false => (0, Vec::new()),
        }
    };
    (0..cells).map(span).collect()
}
