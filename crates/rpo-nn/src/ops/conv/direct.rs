//! 1x1 convolution: a matrix product over positions.

use crate::geometry::Geometry;
use crate::kept::Kept;
use crate::matrix::{Matrix, product_keeping, product_long, product_new};

pub(super) fn forward(
    g: &Geometry,
    x: &[f32],
    w: &[f32],
    b: Option<&[f32]>,
    kept: &Kept,
) -> Vec<f32> {
    let (rows, ci, co) = (g.positions(), g.channels, g.out_channels);
    product_keeping(Matrix::new(x, rows, ci), Matrix::new(w, ci, co), b, kept)
}

pub(super) fn input_gradient(g: &Geometry, w: &[f32], grad: &[f32]) -> Vec<f32> {
    let (rows, ci, co) = (g.positions(), g.channels, g.out_channels);
    product_new(Matrix::new(grad, rows, co), Matrix::new(w, ci, co).t())
}

pub(super) fn weight_gradient(g: &Geometry, x: &[f32], grad: &[f32]) -> Vec<f32> {
    let (rows, ci, co) = (g.positions(), g.channels, g.out_channels);
    product_long(Matrix::new(x, rows, ci).t(), Matrix::new(grad, rows, co))
}
