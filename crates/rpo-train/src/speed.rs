//! Measures the speed of matrix products, for an estimate of hours before the first run.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use rpo_nn::ops;
use std::time::{Duration, Instant};

/// Minimum duration of the measurement; short, so that `check` stays quick.
const LONG_ENOUGH: Duration = Duration::from_millis(150);

/// Multiplications per second of the CPU, in matrix products on all threads. The U-Net reaches between 0.9 and 1.2 times
/// as many: its attention is slower, and Winograd convolutions need fewer than are counted.
///
/// # Errors
/// Tensor errors.
pub fn multiplications_a_second() -> Result<f64> {
    const ROWS: usize = 1024;
    const WIDTH: usize = 512;
    let x = Tensor::ones((ROWS, WIDTH), DType::F32, &Device::Cpu)?;
    let weight = Tensor::ones((WIDTH, WIDTH), DType::F32, &Device::Cpu)?;
    ops::linear(&x, &weight, None)?;
    let start = Instant::now();
    let mut best = Duration::MAX;
    while start.elapsed() < LONG_ENOUGH {
        let began = Instant::now();
        ops::linear(&x, &weight, None)?;
        best = best.min(began.elapsed());
    }
    Ok((ROWS * WIDTH * WIDTH) as f64 / best.as_secs_f64())
}
