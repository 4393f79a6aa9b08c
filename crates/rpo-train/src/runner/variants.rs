//! Variants of the trained weights that are candidates too: what training changed, scaled, and the moving average over the steps.

use super::trainable::Trained;
use anyhow::Result;
use rpo_experiment::run::AVERAGES;
use rpo_nn::optim::ema_decay;
use rpo_nn::weights::Params;
use rpo_reward::Variant;
use std::path::Path;

/// The variants of one trajectory's weights. Their values are on the CPU.
pub(super) struct Variants<'a> {
    trained: &'a dyn Trained,
    /// In the order in which they are scored; the trained weights are the last.
    all: Vec<Variant>,
    /// The tensors that scales apply to, as they were before the first step.
    start: Option<Params>,
    /// All tensors, averaged.
    averages: Option<Params>,
    decay: f64,
}

impl<'a> Variants<'a> {
    /// Of weights before their first step. `others`: the variants beside the trained weights; `decay` is the average's.
    ///
    /// # Errors
    /// Those of the device.
    pub(super) fn new(trained: &'a dyn Trained, others: Vec<Variant>, decay: f64) -> Result<Self> {
        let scaled = others.iter().any(|v| matches!(v, Variant::Scaled(_)));
        let averaged = others.contains(&Variant::Ema);
        let start = |tensor: &str| trained.scales(tensor);
        Ok(Self {
            start: scaled.then(|| copy(trained, start)).transpose()?,
            averages: averaged.then(|| copy(trained, |_| true)).transpose()?,
            all: others.into_iter().chain([Variant::Trained]).collect(),
            trained,
            decay,
        })
    }

    /// What is scored at a step.
    pub(super) fn at(&self, step: usize) -> &[Variant] {
        match step {
            // The base model has no change to scale.
            0 => &[Variant::Trained],
            _ => &self.all,
        }
    }

    /// Averages the weights after the step with this number, from 1.
    ///
    /// # Errors
    /// Those of the device.
    pub(super) fn step(&mut self, step: usize) -> Result<()> {
        if let Some(averages) = &self.averages {
            let decay = ema_decay(self.decay, step.saturating_sub(1) as u64);
            averages.interpolate(self.trained.params(), 1.0 - decay)?;
        }
        Ok(())
    }

    /// The averages, for a saved state.
    pub(super) fn averages(&self) -> Option<&Params> {
        self.averages.as_ref()
    }

    /// Reads the averages of a saved state.
    ///
    /// # Errors
    /// A missing or damaged file, by path.
    pub(super) fn load(&self, state: &Path) -> Result<()> {
        if let Some(averages) = &self.averages {
            averages.load_values(&state.join(AVERAGES))?;
        }
        Ok(())
    }

    /// Does something while the trained tensors have the values of a variant, and gives them their own back, bit for bit, whatever
    /// comes of it. Networks built meanwhile must be dropped before it ends.
    ///
    /// # Errors
    /// Those of `act`, and of the device.
    pub(super) fn with<R>(&self, variant: Variant, act: impl FnOnce() -> Result<R>) -> Result<R> {
        let (values, share) = match variant {
            Variant::Trained => return act(),
            Variant::Ema => (&self.averages, 1.0),
            Variant::Scaled(scale) => (&self.start, 1.0 - scale.get()),
        };
        let params = self.trained.params();
        let own = copy(self.trained, |_| true)?;
        let done = match values {
            Some(values) => params
                .interpolate(values, share)
                .map_err(Into::into)
                // As after a step: a word's norm may be kept.
                .and_then(|()| self.trained.after_step())
                .and_then(|()| act()),
            None => act(),
        };
        params.interpolate(&own, 1.0)?;
        done
    }
}

/// Copies of the trained tensors that `chosen` names, on the CPU.
fn copy(trained: &dyn Trained, chosen: impl Fn(&str) -> bool) -> Result<Params> {
    let mut tensors = trained.params().tensors_sorted()?;
    tensors.retain(|(name, _)| chosen(name));
    Ok(Params::from_tensors(tensors, "trained tensors", false)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::setup::Setup;
    use rpo_experiment::read;
    use rpo_reward::Scale;

    fn setup(sets: &[&str]) -> Setup {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.toml");
        std::fs::write(&file, "[subjects]\ncount = 1\n").unwrap();
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        let (experiment, layers) = read(&file, &[], &sets).unwrap();
        Setup::load(experiment, &layers).unwrap()
    }

    fn values(trained: &dyn Trained) -> Vec<(String, Vec<f32>)> {
        let all = trained.params().tensors_sorted().unwrap().into_iter();
        all.map(|(name, t)| (name, t.flatten_all().unwrap().to_vec1().unwrap()))
            .collect()
    }

    /// As a step of an optimiser: every number moves by its own amount.
    fn walk(trained: &dyn Trained, step: usize) {
        for (_, var) in trained.params().vars() {
            let moved: Vec<f32> = (0..var.elem_count())
                .map(|i| ((i * 7 + step * 13) % 11) as f32 / 10.0 - 0.5)
                .collect();
            let moved = candle_core::Tensor::from_vec(moved, var.dims(), var.device()).unwrap();
            var.set(&(var.as_tensor() + moved).unwrap()).unwrap();
        }
    }

    #[test]
    fn every_kind_of_weights_has_its_variants_and_gets_its_own_back() {
        rpo_nn::on_pool(|| {
            for parts in [
                "[\"lora\", \"token\"]",
                "[\"unet\"]",
                "[\"cross_attention\", \"text_encoder\"]",
            ] {
                let rank = ["lora.rank=2"];
                let parts = format!("train.parts={parts}");
                let sets: Vec<&str> = match parts.contains("lora") {
                    true => [&rank[..], &[parts.as_str()]].concat(),
                    false => vec![parts.as_str()],
                };
                let setup = setup(&sets);
                let mut unit = |_: &str, n: usize| vec![0.75; n];
                let trainable = setup.trainable(&setup.arms[0]);
                let started = trainable.start(setup.base(), &setup.subjects[0], &mut unit);
                let trained = &*started.unwrap();
                let scale = Variant::Scaled(Scale::new(0.4).unwrap());
                let others = vec![scale, Variant::Ema];
                let mut variants = Variants::new(trained, others, 0.75).unwrap();
                assert_eq!(variants.at(0), [Variant::Trained]);
                assert_eq!(variants.at(3), [scale, Variant::Ema, Variant::Trained]);

                let start = values(trained);
                let mut average: Vec<Vec<f64>> = start
                    .iter()
                    .map(|(_, x)| x.iter().map(|x| f64::from(*x)).collect())
                    .collect();
                for step in 1..=4 {
                    walk(trained, step);
                    variants.step(step).unwrap();
                    // .1, .1818, .25, .3077: below the decay, which the fourth power of a long run reaches.
                    let n = step as f64 - 1.0;
                    let decay = f64::min(0.75, (1.0 + n) / (10.0 + n));
                    for (average, (_, now)) in average.iter_mut().zip(values(trained)) {
                        for (average, now) in average.iter_mut().zip(now) {
                            *average = decay * *average + (1.0 - decay) * f64::from(now);
                        }
                    }
                }
                let own = values(trained);
                let prints = [scale, Variant::Ema, Variant::Trained].map(|variant| {
                    variants
                        .with(variant, || {
                            for (i, (name, now)) in values(trained).iter().enumerate() {
                                for (j, now) in now.iter().enumerate() {
                                    let (from, to) = (start[i].1[j], own[i].1[j]);
                                    let wanted = match variant {
                                        Variant::Trained => f64::from(to),
                                        Variant::Ema => average[i][j],
                                        Variant::Scaled(_) if name.ends_with("lora_A.weight") => {
                                            f64::from(to)
                                        }
                                        Variant::Scaled(s) => {
                                            let (from, to) = (f64::from(from), f64::from(to));
                                            from + s.get() * (to - from)
                                        }
                                    };
                                    let error = (f64::from(*now) - wanted).abs();
                                    assert!(error < 1e-6, "{name} {variant}: {now}, not {wanted}");
                                }
                            }
                            trained.fingerprint()
                        })
                        .unwrap()
                });
                assert!(prints[0] != prints[1] && prints[1] != prints[2] && prints[0] != prints[2]);
                assert!(values(trained) == own, "bit for bit");
                let failed = variants.with(scale, || anyhow::bail!("drawing failed"));
                assert_eq!(
                    failed.map(|()| 0).unwrap_err().to_string(),
                    "drawing failed"
                );
                assert!(values(trained) == own, "also after a failure");
            }
        });
    }

    #[test]
    fn averages_go_on_from_a_saved_state() {
        rpo_nn::on_pool(|| {
            let setup = setup(&["lora.rank=2"]);
            let trainable = setup.trainable(&setup.arms[0]);
            let start = || {
                let mut unit = |_: &str, n: usize| vec![0.75; n];
                trainable
                    .start(setup.base(), &setup.subjects[0], &mut unit)
                    .unwrap()
            };
            let averages = |variants: &Variants, trained: &dyn Trained| {
                variants.with(Variant::Ema, || Ok(values(trained))).unwrap()
            };
            let state = tempfile::tempdir().unwrap();
            let whole = &*start();
            let mut variants = Variants::new(whole, vec![Variant::Ema], 0.9).unwrap();
            for step in 1..=4 {
                walk(whole, step);
                variants.step(step).unwrap();
                if step == 2 {
                    let place = state.path().join(AVERAGES);
                    variants.averages().unwrap().save(&place).unwrap();
                    let weights = state.path().join("weights.safetensors");
                    whole.params().save(&weights).unwrap();
                }
            }
            let resumed = &*start();
            let mut again = Variants::new(resumed, vec![Variant::Ema], 0.9).unwrap();
            let weights = state.path().join("weights.safetensors");
            resumed.params().load_values(&weights).unwrap();
            again.load(state.path()).unwrap();
            for step in 3..=4 {
                walk(resumed, step);
                again.step(step).unwrap();
            }
            assert!(averages(&again, resumed) == averages(&variants, whole));
        });
    }
}
