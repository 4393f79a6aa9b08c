//! What the checkpoints of a test's run hold.

use crate::home::Home;
use rpo_nn::weights::Params;
use std::fs;
use std::path::{Path, PathBuf};

/// The tensors of a file.
pub(crate) fn tensors(path: &Path) -> Params {
    Params::open(path, false).unwrap()
}

/// The values of a tensor.
pub(crate) fn numbers(t: &candle_core::Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1::<f32>().unwrap()
}

/// The folder of the first subject of an arm of the run `run`.
pub(crate) fn of_arm(home: &Home, arm: &str) -> PathBuf {
    let subjects = fs::read_dir(home.path(&format!("run/trajectories/{arm}"))).unwrap();
    subjects.flatten().next().unwrap().path().join("seed-0")
}
