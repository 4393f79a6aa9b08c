//! Distances between tensors.
#![allow(dead_code, reason = "each test file uses its part")]

use candle_core::{DType, Result, Tensor};

/// `||a - b|| / ||b||`; infinite if the shapes differ or a number is not finite.
pub(crate) fn relative(a: &Tensor, b: &Tensor) -> Result<f64> {
    if a.dims() != b.dims() {
        return Ok(f64::INFINITY);
    }
    let f64s = |t: &Tensor| t.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
    let (a, b) = (f64s(a)?, f64s(b)?);
    let norm: f64 = b.iter().map(|x| x * x).sum();
    let off: f64 = a.iter().zip(&b).map(|(x, y)| (x - y) * (x - y)).sum();
    let ratio = (off / norm).sqrt();
    Ok(if ratio.is_finite() {
        ratio
    } else {
        f64::INFINITY
    })
}

/// Prints the figure and holds it to the tolerance.
#[track_caller]
pub(crate) fn assert_close(what: &str, a: &Tensor, b: &Tensor, tolerance: f64) {
    let figure = relative(a, b).expect("numbers");
    println!("{what}: relative L2 {figure:.2e}");
    assert!(figure <= tolerance, "{what}: {figure:e} > {tolerance:e}");
}
