//! Setups and batches.

use candle_core::Tensor;
use rpo_data::random;
use rpo_train::progress::Progress;
use rpo_train::runner::checkpoint;
use rpo_train::runner::objective::Batch;
use rpo_train::runner::prepare::{TrainingSet, prepare};
use rpo_train::runner::setup::Setup;
use rpo_train::runner::step::Step;
use std::path::Path;

pub(crate) fn load(sets: &[&str]) -> anyhow::Result<Setup> {
    let experiments = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments");
    let common = ["subjects.count=1", "training.batch=16"];
    let sets: Vec<String> = common.iter().chain(sets).map(|s| (*s).to_owned()).collect();
    let smoke = experiments.join("sizes/smoke.toml");
    let file = experiments.join("quickstart.toml");
    let (experiment, layers) = rpo_experiment::read(&file, &[smoke], &sets)?;
    Setup::load(experiment, &layers)
}

pub(crate) fn setup(sets: &[&str]) -> Setup {
    load(&[&["recipe.l_pref_weight=0"], sets].concat()).unwrap()
}

pub(crate) fn prepared(setup: &Setup) -> TrainingSet {
    let base = checkpoint::network(setup, None).unwrap();
    let mut progress = Progress::new(1.0);
    let cell = &setup.cells[0];
    prepare(setup, &setup.drawer(), &base, cell, &mut progress).unwrap()
}

pub(crate) fn batch(setup: &Setup, set: &TrainingSet) -> Batch {
    let step = Step {
        pipeline: &setup.pipeline,
        set,
        arm: &setup.arms[0],
        size: setup.size,
    };
    let [mut rng, mut flips, mut augment] =
        ["options", "flips", "augment"].map(|purpose| random::stream(3, purpose, &[]));
    step.batch(&mut rng, &mut flips, &mut augment).unwrap()
}

pub(crate) fn number(x: &Tensor) -> f64 {
    f64::from(x.to_scalar::<f32>().unwrap())
}

/// The largest difference of two tensors.
pub(crate) fn apart(a: &Tensor, b: &Tensor) -> f64 {
    number(&(a - b).unwrap().abs().unwrap().max_all().unwrap())
}
