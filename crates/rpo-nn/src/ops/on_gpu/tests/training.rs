//! Several operations, a tape and an optimiser together.

use super::compare::{places, random, worst};
use crate::layers::Linear;
use crate::ops::{self, Activation};
use crate::optim::{AdamW, AdamWConfig, clip_scale, global_norm};
use crate::place::host_values;
use crate::weights::Params;
use crate::{Place, Tape};
use candle_core::{DType, Result, Tensor, Var};

/// A tensor used twice, a recomputed part, and steps of AdamW at two rates.
#[test]
fn a_tape_and_a_step() {
    let run = |place: &Place| -> Result<(Vec<f32>, f64)> {
        let input = place.tensor(random(6 * 16, 1), &[6, 16], place.dtype(), false)?;
        let w = place.tensor(random(16 * 16, 2), &[16, 16], DType::F32, true)?;
        let b = place.tensor(random(16, 3), &[16], DType::F32, true)?;
        let vars = vec![
            ("b".to_owned(), Var::from_tensor(&b)?),
            ("w".to_owned(), Var::from_tensor(&w)?),
        ];
        let mut optimizer = AdamW::new(AdamWConfig::default(), vars.clone())?;
        optimizer.set_rates(|name| if name == "w" { 1.0 } else { 0.25 })?;
        let mut norm = 0.0;
        for _ in 0..3 {
            let tape = Tape::new(true)?;
            let out = tape.record(|| {
                let h = ops::activation(&ops::linear(&input, &w, Some(&b))?, Activation::Silu)?;
                let (again, from) = (w.clone(), h.clone());
                let part = tape.part(move || ops::linear(&from, &again, None))?;
                place.leave(&ops::add(&part, &h)?)
            })?;
            let grads = tape.backward(&out.sqr()?.mean_all()?)?;
            norm = global_norm(&grads, &vars)?;
            optimizer.step(&grads, clip_scale(norm, 1.0))?;
        }
        Ok(([host_values(&w)?, host_values(&b)?].concat(), norm))
    };
    let (want, norm) = run(&Place::default()).unwrap();
    for place in places() {
        let (got, same) = run(&place).unwrap();
        let bound = if place.dtype() == DType::BF16 {
            0.02
        } else {
            1e-5
        };
        assert!(
            worst(&got, &want) < bound,
            "{:?}: {}",
            place.dtype(),
            worst(&got, &want)
        );
        assert!(
            (same / norm - 1.0).abs() < f64::from(bound),
            "{same} {norm}"
        );
    }
}

/// Layers cache trained weights in the dtype of activations only until a step, or anything else, changes them.
#[test]
fn casts_follow_the_weights() {
    for place in places() {
        let tensor = |dims: &[usize], seed| {
            let values = random(dims.iter().product(), seed);
            Tensor::from_vec(values, dims, &candle_core::Device::Cpu).unwrap()
        };
        let tensors = [("weight", tensor(&[16, 24], 1)), ("bias", tensor(&[16], 2))];
        let tensors = tensors.map(|(name, t)| (name.to_owned(), t));
        let read = Params::from_tensors(tensors, "test", true).unwrap();
        let params = read.at(&place).unwrap();
        let layer = |params: &Params| Linear::new(&params.root(), 24, 16, true).unwrap();
        let x = place.enter(&tensor(&[5, 24], 3)).unwrap();
        let out = |layer: &Linear| {
            let tape = Tape::new(false).unwrap();
            let out = tape.record(|| place.leave(&layer.forward(&x)?));
            host_values(&out.unwrap()).unwrap()
        };
        let (trained, seen) = (layer(&params), layer(&params.detached()));
        let mut optimizer = AdamW::new(AdamWConfig::default(), params.vars()).unwrap();
        let mut before = vec![];
        for change in 0..3 {
            let want = out(&layer(&params.copy_to(&place, false).unwrap()));
            assert_ne!(want, before);
            assert_eq!(out(&trained), want, "after {change} changes");
            assert_eq!(out(&seen), want, "after {change} changes");
            before = want;
            if change == 0 {
                let tape = Tape::new(false).unwrap();
                let out = tape.record(|| place.leave(&trained.forward(&x)?)).unwrap();
                let grads = tape.backward(&out.sqr().unwrap().mean_all().unwrap());
                optimizer.step(&grads.unwrap(), 100.0).unwrap();
            } else {
                params.add_values("weight", vec![0.5; 16 * 24]).unwrap();
            }
        }
    }
}
