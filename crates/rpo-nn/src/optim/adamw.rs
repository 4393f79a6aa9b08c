//! Adam with decoupled weight decay (Loshchilov and Hutter 2019), in place.

use super::gradients::gradient;
use crate::autograd::with_views;
use crate::parallel::GRAIN;
#[cfg(feature = "cuda")]
use crate::place::{Place, host_values};
use crate::simd::simd;
use crate::weights::{Archive, Item, Precision, write};
use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Var, bail};
#[cfg(feature = "cuda")]
use candle_core::{DType, Tensor};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

/// Hyperparameters of [`AdamW`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWConfig {
    /// Learning rate η.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// λ; the weights shrink by the factor 1 - η λ every step.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    /// PyTorch's defaults.
    fn default() -> Self {
        Self {
            lr: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 1e-2,
        }
    }
}

struct Slot {
    name: String,
    var: Var,
    moments: Moments,
    /// Factor on the learning rate; 0: it stands still.
    rate: f64,
    /// Steps of the others before its first one.
    start: u64,
}

/// First and second moment, on the variable's device.
enum Moments {
    Host(Mutex<(Vec<f32>, Vec<f32>)>),
    #[cfg(feature = "cuda")]
    Gpu([Tensor; 2]),
}

impl Moments {
    fn new(var: &Var, first: Vec<f32>, second: Vec<f32>) -> Result<Self> {
        #[cfg(feature = "cuda")]
        if var.device().is_cuda() {
            let place = Place::new(var.device().clone(), DType::F32)?;
            let tensor = |values| place.tensor(values, var.dims(), DType::F32, false);
            return Ok(Self::Gpu([tensor(first)?, tensor(second)?]));
        }
        debug_assert_eq!(first.len(), var.elem_count());
        Ok(Self::Host(Mutex::new((first, second))))
    }

    /// A copy of one of them.
    fn values(&self, second: bool) -> Result<Vec<f32>> {
        match self {
            Self::Host(moments) => {
                let (m, v) = &*moments.lock().map_err(|_| poisoned())?;
                Ok(if second { v.clone() } else { m.clone() })
            }
            #[cfg(feature = "cuda")]
            Self::Gpu(both) => host_values(&both[usize::from(second)]),
        }
    }
}

/// AdamW as `torch.optim.AdamW`. Weights change in place: tensors that share their storage see every step.
pub struct AdamW {
    config: AdamWConfig,
    slots: Vec<Slot>,
    steps: u64,
}

/// The factors of one step.
#[derive(Clone, Copy)]
struct Factors {
    grad_scale: f32,
    beta1: f32,
    beta2: f32,
    /// 1 - η λ.
    keep: f32,
    /// η / (1 - beta1^t).
    rate: f32,
    /// 1 / sqrt(1 - beta2^t).
    unbias: f32,
    eps: f32,
}

#[inline(always)]
fn update_body<const FMA: bool>(
    w: &mut [f32],
    m: &mut [f32],
    v: &mut [f32],
    g: &[f32],
    f: Factors,
) {
    for (((w, m), v), &g) in w.iter_mut().zip(m).zip(v).zip(g) {
        let g = g * f.grad_scale;
        *m = *m + (1.0 - f.beta1) * (g - *m);
        *v = f.beta2 * *v + (1.0 - f.beta2) * (g * g);
        *w = *w * f.keep - f.rate * *m / (v.sqrt() * f.unbias + f.eps);
    }
}

simd! {
    fn update(w: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32], f: Factors) = update_body;
}

/// One tensor's step.
struct Update<'a> {
    moments: &'a Mutex<(Vec<f32>, Vec<f32>)>,
    grad: &'a [f32],
    factors: Factors,
}

impl InplaceOp1 for Update<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (CpuStorage::F32(data), Some((from, to))) = (storage, layout.contiguous_offsets())
        else {
            bail!("adamw: a variable is not contiguous f32: {layout:?}")
        };
        let mut moments = match self.moments.lock() {
            Ok(moments) => moments,
            Err(_) => bail!("adamw: an earlier step panicked"),
        };
        let (m, v) = &mut *moments;
        data[from..to]
            .par_chunks_mut(GRAIN)
            .zip(m.par_chunks_mut(GRAIN))
            .zip(v.par_chunks_mut(GRAIN))
            .zip(self.grad.par_chunks(GRAIN))
            .for_each(|(((w, m), v), g)| update(w, m, v, g, self.factors));
        Ok(())
    }
}

impl AdamW {
    /// An optimiser of `vars` with moments 0.
    ///
    /// # Errors
    /// If there is nothing to train, a variable is not f32, or a hyperparameter is out of range.
    pub fn new(config: AdamWConfig, vars: Vec<(String, Var)>) -> Result<Self> {
        let AdamWConfig {
            lr,
            beta1,
            beta2,
            eps,
            weight_decay,
        } = config;
        let share = 0.0..1.0;
        if !(lr >= 0.0
            && share.contains(&beta1)
            && share.contains(&beta2)
            && eps >= 0.0
            && weight_decay >= 0.0)
        {
            bail!("AdamW: hyperparameters out of range: {config:?}")
        }
        if vars.is_empty() {
            bail!("AdamW: nothing to train; are the parameters trainable and the model built?")
        }
        let mut slots = Vec::with_capacity(vars.len());
        for (name, var) in vars {
            if var.dtype() != candle_core::DType::F32 {
                bail!("AdamW: {name} is {:?}, not f32", var.dtype())
            }
            let n = var.elem_count();
            let moments = Moments::new(&var, vec![0.0; n], vec![0.0; n])?;
            slots.push(Slot {
                name,
                var,
                moments,
                rate: 1.0,
                start: 0,
            });
        }
        Ok(Self {
            config,
            slots,
            steps: 0,
        })
    }

    /// Changes the learning rate from the next step on.
    pub fn set_lr(&mut self, lr: f64) {
        self.config.lr = lr;
    }

    /// Sets a factor on the learning rate per variable, by name; initially 1. With 0 a variable and its moments stand still, and it
    /// needs no gradient.
    ///
    /// # Errors
    /// If a factor is negative or not finite, with the variable's name.
    pub fn set_rates(&mut self, of: impl Fn(&str) -> f64) -> Result<()> {
        for slot in &mut self.slots {
            let rate = of(&slot.name);
            if !(rate.is_finite() && rate >= 0.0) {
                bail!("AdamW: {}: a learning rate {rate} times", slot.name)
            }
            slot.rate = rate;
        }
        Ok(())
    }

    /// Sets the number of steps before a variable's first one, by name, so that its moments are unbiased by its own steps; initially
    /// 0.
    pub fn set_starts(&mut self, of: impl Fn(&str) -> u64) {
        for slot in &mut self.slots {
            slot.start = of(&slot.name);
        }
    }

    /// The learning rate.
    pub fn lr(&self) -> f64 {
        self.config.lr
    }

    /// Steps so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// One step with the gradients times `grad_scale` (clipping, averaging over micro-batches; 1 otherwise).
    ///
    /// # Errors
    /// If a variable has no gradient, with its name; nothing is changed then.
    pub fn step(&mut self, grads: &GradStore, grad_scale: f64) -> Result<()> {
        let moving = self.slots.iter().filter(|slot| slot.rate > 0.0);
        let found = moving
            .map(|s| Ok((s, gradient(grads, &s.name, &s.var)?.contiguous()?)))
            .collect::<Result<Vec<_>>>()?;
        let steps = self.steps + 1;
        let factors = |slot: &Slot| self.factors(slot, steps, grad_scale);
        #[cfg(feature = "cuda")]
        Self::step_on_gpu(&found, &factors)?;
        for (slot, grad) in &found {
            #[allow(irrefutable_let_patterns, reason = "there is one kind without a GPU")]
            let Moments::Host(moments) = &slot.moments else {
                continue;
            };
            with_views([grad], |[grad]| {
                let update = Update {
                    moments,
                    grad: grad.data,
                    factors: factors(slot),
                };
                slot.var.inplace_op1(&update)
            })?;
        }
        self.steps = steps;
        Ok(())
    }

    /// The factors of a variable in the step with this number.
    fn factors(&self, slot: &Slot, step: u64, grad_scale: f64) -> Factors {
        let c = &self.config;
        let own = step.saturating_sub(slot.start).max(1);
        let t = i32::try_from(own).unwrap_or(i32::MAX);
        Factors {
            grad_scale: grad_scale as f32,
            beta1: c.beta1 as f32,
            beta2: c.beta2 as f32,
            keep: (1.0 - c.lr * slot.rate * c.weight_decay) as f32,
            rate: (c.lr * slot.rate / (1.0 - c.beta1.powi(t))) as f32,
            unbias: (1.0 / (1.0 - c.beta2.powi(t)).sqrt()) as f32,
            eps: c.eps as f32,
        }
    }

    #[cfg(feature = "cuda")]
    fn step_on_gpu(found: &[(&Slot, Tensor)], factors: &dyn Fn(&Slot) -> Factors) -> Result<()> {
        // One launch for all variables with the same factors.
        let mut alike: BTreeMap<(u64, u64), (&Slot, Vec<crate::gpu::Step>)> = BTreeMap::new();
        for (slot, grad) in found {
            let Moments::Gpu(moments) = &slot.moments else {
                continue;
            };
            let key = (slot.rate.to_bits(), slot.start);
            let (_, updates) = alike.entry(key).or_insert_with(|| (slot, Vec::new()));
            updates.push(crate::gpu::Step {
                w: &slot.var,
                grad,
                moments,
            });
        }
        for (slot, updates) in alike.values() {
            let Factors {
                grad_scale,
                beta1,
                beta2,
                keep,
                rate,
                unbias,
                eps,
            } = factors(slot);
            let factors = [beta1, beta2, keep, rate, unbias, eps, grad_scale];
            crate::gpu::step(slot.var.device(), updates, factors)?;
        }
        if !alike.is_empty() {
            crate::kept::count_step();
        }
        Ok(())
    }

    /// Writes the moments and the number of steps as safetensors: `NAME.exp_avg`, `NAME.exp_avg_sq` (flat) and `steps` (two
    /// numbers: steps mod 2^20, steps / 2^20). The file appears whole or not at all.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save_state(&self, path: &Path) -> Result<()> {
        let steps = vec![
            (self.steps % STEPS_BASE) as f32,
            (self.steps / STEPS_BASE) as f32,
        ];
        let mut items = vec![Item::new("steps", [2], move || Ok(steps.clone()))];
        for slot in &self.slots {
            let shape = [slot.var.elem_count()];
            let first = move || slot.moments.values(false);
            let second = move || slot.moments.values(true);
            items.push(Item::new(format!("{}.exp_avg", slot.name), shape, first));
            items.push(Item::new(
                format!("{}.exp_avg_sq", slot.name),
                shape,
                second,
            ));
        }
        write(path, &items, Precision::F32, &BTreeMap::new())
    }

    /// Reads what [`Self::save_state`] wrote for the same variables.
    ///
    /// # Errors
    /// If the file cannot be read, tensors are missing or superfluous, or a size differs. Nothing is changed then, unless the disk
    /// fails in the middle, or a value there is not finite.
    pub fn load_state(&mut self, path: &Path) -> Result<()> {
        let file = Archive::open(path)?;
        let mut wanted = BTreeMap::from([("steps".to_owned(), 2)]);
        for slot in &self.slots {
            for moment in ["exp_avg", "exp_avg_sq"] {
                wanted.insert(format!("{}.{moment}", slot.name), slot.var.elem_count());
            }
        }
        for (name, len) in &wanted {
            match file.shape(name).map(|shape| shape.iter().product()) {
                Some(n) if n == *len => {}
                Some::<usize>(n) => bail!("{}: {name} has {n} values, not {len}", path.display()),
                None => bail!("{}: {name} is missing", path.display()),
            }
        }
        if let Some(name) = file.names().find(|name| !wanted.contains_key(*name)) {
            bail!(
                "{}: {name} belongs to no variable that is trained",
                path.display()
            )
        }
        let steps = file.values("steps")?;
        for slot in &mut self.slots {
            let moment = |which: &str| file.values(&format!("{}.{which}", slot.name));
            slot.moments = Moments::new(&slot.var, moment("exp_avg")?, moment("exp_avg_sq")?)?;
        }
        self.steps = steps[0] as u64 + steps[1] as u64 * STEPS_BASE;
        Ok(())
    }
}

/// f32 holds integers up to 2^24 exactly.
const STEPS_BASE: u64 = 1 << 20;

fn poisoned() -> candle_core::Error {
    candle_core::Error::msg("AdamW: an earlier step panicked")
}
