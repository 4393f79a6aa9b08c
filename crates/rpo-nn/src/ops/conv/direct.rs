//! 1x1 convolution: a matrix product over positions.

use super::Geometry;
use crate::matrix::{Matrix, product_parallel};
use crate::ops::rows::fill_rows;

pub(super) fn forward(g: &Geometry, x: &[f32], w: &[f32], b: Option<&[f32]>) -> Vec<f32> {
    let (rows, ci, co) = (g.positions(), g.channels, g.out_channels);
    let mut y = vec![0f32; rows * co];
    if let Some(b) = b {
        fill_rows(&mut y, b);
    }
    product_parallel(
        &mut y,
        Matrix::new(x, rows, ci),
        Matrix::new(w, ci, co),
        b.is_some(),
    );
    y
}

pub(super) fn input_gradient(g: &Geometry, w: &[f32], grad: &[f32]) -> Vec<f32> {
    let (rows, ci, co) = (g.positions(), g.channels, g.out_channels);
    let mut dx = vec![0f32; rows * ci];
    product_parallel(
        &mut dx,
        Matrix::new(grad, rows, co),
        Matrix::new(w, ci, co).t(),
        false,
    );
    dx
}

pub(super) fn weight_gradient(g: &Geometry, x: &[f32], grad: &[f32]) -> Vec<f32> {
    let (rows, ci, co) = (g.positions(), g.channels, g.out_channels);
    let mut dw = vec![0f32; ci * co];
    product_parallel(
        &mut dw,
        Matrix::new(x, rows, ci).t(),
        Matrix::new(grad, rows, co),
        false,
    );
    dw
}
