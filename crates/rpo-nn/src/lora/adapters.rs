//! The set of adapters of one network.

use super::config::{LoraConfig, adaptable};
use super::layer::{A, B, adapter_shapes};
use crate::weights::{Controls, Overlay, Params};
use candle_core::{Device, Result, Tensor, bail};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The adapter of one module, in the layout of a checkpoint.
#[derive(Clone, Debug)]
pub struct LoraModule {
    /// A, "down": `[r, input]`, or `[r, ci, k, k]` of a convolution.
    pub a: Tensor,
    /// B, "up": `[output, r]`, or `[co, r, 1, 1]`.
    pub b: Tensor,
    /// α.
    pub alpha: f64,
}

impl LoraModule {
    /// `scale` · α/r · B A, row-major in the shape of the weight that it is added to.
    ///
    /// # Errors
    /// If A and B do not fit each other.
    pub fn delta(&self, scale: f64) -> Result<Vec<f32>> {
        let rank = self.a.dim(0)?;
        // B is 1x1, so the product of the flattened kernels is the kernel of the composed convolutions.
        let product = self.b.flatten_from(1)?.matmul(&self.a.flatten_from(1)?)?;
        (product * (scale * self.alpha / rank as f64))?
            .flatten_all()?
            .to_vec1()
    }
}

/// A and B of some modules of one network. Clones share them.
#[derive(Clone, Debug)]
pub struct Adapters {
    params: Params,
    /// Module to α.
    alphas: Arc<BTreeMap<String, f64>>,
    controls: Arc<Controls>,
}

impl Adapters {
    /// New adapters for the modules of `base` that the targets match, with peft's initialisation: A as `config.init` says, B 0, so
    /// that the adapted network equals the base. `unit(module, n)` returns n draws from [0, 1) of the module's own stream.
    ///
    /// # Errors
    /// If a hyperparameter is out of range, or a target matches no linear layer and no convolution.
    pub fn new(
        base: &Params,
        config: &LoraConfig,
        unit: &mut dyn FnMut(&str, usize) -> Vec<f64>,
    ) -> Result<Self> {
        config.check()?;
        let shapes = layers(base);
        let mut modules = BTreeMap::new();
        for name in config.modules(&base.shapes())? {
            let (a, b) = adapter_shapes(&shapes[&name], config.rank);
            let (n, fan_in) = (a.iter().product(), a[1..].iter().product());
            let mut draws = |n| unit(&name, n);
            let values = config.init.values(n, fan_in, config.rank, &mut draws);
            let module = LoraModule {
                a: Tensor::from_vec(values, a, &Device::Cpu)?,
                b: Tensor::zeros(b, candle_core::DType::F32, &Device::Cpu)?,
                alpha: config.alpha,
            };
            modules.insert(name, module);
        }
        Self::build(&modules, base, config.dropout, true)
    }

    /// Adapters with given values, for the modules of `base` that they name. A 1x1 kernel fits a linear layer of the same
    /// sizes and vice versa.
    ///
    /// # Errors
    /// If `base` has no such module, or one of another size, with its name.
    pub fn from_modules(
        base: &Params,
        modules: &BTreeMap<String, LoraModule>,
        trainable: bool,
    ) -> Result<Self> {
        let shapes = layers(base);
        let mut fitted = BTreeMap::new();
        for (name, module) in modules {
            let Some(shape) = shapes.get(name).filter(|s| adaptable(s)) else {
                bail!(
                    "{}: there is no linear layer and no convolution {name}; the LoRA belongs to another model",
                    base.label()
                )
            };
            let rank = module.a.dim(0)?;
            let (a, b) = adapter_shapes(shape, rank);
            let (Ok(down), Ok(up)) = (
                module.a.reshape(a.as_slice()),
                module.b.reshape(b.as_slice()),
            ) else {
                bail!(
                    "{name}: A {:?} and B {:?} do not fit its weight {shape:?} of {}; the LoRA belongs to another model",
                    module.a.dims(),
                    module.b.dims(),
                    base.label()
                )
            };
            let alpha = module.alpha;
            fitted.insert(
                name.clone(),
                LoraModule {
                    a: down,
                    b: up,
                    alpha,
                },
            );
        }
        Self::build(&fitted, base, 0.0, trainable)
    }

    fn build(
        modules: &BTreeMap<String, LoraModule>,
        base: &Params,
        dropout: f64,
        trainable: bool,
    ) -> Result<Self> {
        let label = base.label();
        if modules.is_empty() {
            bail!("{label}: a LoRA without modules")
        }
        let tensors = modules.iter().flat_map(|(name, m)| {
            [
                (format!("{name}.{A}"), m.a.clone()),
                (format!("{name}.{B}"), m.b.clone()),
            ]
        });
        Ok(Self {
            params: Params::from_tensors(tensors, &format!("LoRA of {label}"), trainable)?
                .at(base.place())?,
            alphas: Arc::new(
                modules
                    .iter()
                    .map(|(name, m)| (name.clone(), m.alpha))
                    .collect(),
            ),
            controls: Arc::new(Controls::new(dropout)),
        })
    }

    /// A and B by `MODULE.lora_A.weight` and `MODULE.lora_B.weight`: the trained and saved tensors.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The same values, not tracked.
    pub fn detached(&self) -> Self {
        Self {
            params: self.params.detached(),
            ..self.clone()
        }
    }

    /// Copies of all adapters in the layout of a checkpoint.
    ///
    /// # Errors
    /// If memory cannot be read back as f32, which does not happen for tensors of this type.
    pub fn modules(&self) -> Result<BTreeMap<String, LoraModule>> {
        let mut tensors: BTreeMap<String, Tensor> =
            self.params.tensors_sorted()?.into_iter().collect();
        let mut take = |name: &str, part: &str| {
            let tensor = tensors.remove(&format!("{name}.{part}"));
            tensor.ok_or_else(|| candle_core::Error::msg(format!("{name}.{part} is missing")))
        };
        self.alphas
            .iter()
            .map(|(name, &alpha)| {
                let (a, b) = (take(name, A)?, take(name, B)?);
                Ok((name.clone(), LoraModule { a, b, alpha }))
            })
            .collect()
    }

    /// Sets the scale of all adapters, 1 by default, also in models already built on them.
    pub fn set_scale(&self, scale: f64) {
        self.controls.set_scale(scale);
    }

    /// Enables dropout on the adapters' inputs, with masks that depend on `key` and the module's name alone; `None` disables it. Set
    /// a new key before every training step and `None` before sampling.
    pub fn set_dropout_key(&self, key: Option<u64>) {
        self.controls.set_key(key);
    }

    /// Adds s · α/r · B A to the weights of `base`, in place and in f32: every model built on them is then the adapted one.
    /// `-scale` removes it again, exact up to rounding.
    ///
    /// # Errors
    /// If `base` lacks a module or has it in another shape. Then some weights may have been changed.
    pub fn merge_into(&self, base: &Params, scale: f64) -> Result<()> {
        for (name, module) in self.modules()? {
            base.add_values(&format!("{name}.weight"), module.delta(scale)?)?;
        }
        Ok(())
    }
}

impl Params {
    /// The same tensors with adapters: a model built on the result is the adapted one. [`Self::vars`], [`Self::save`] and the like
    /// still refer to the tensors themselves; those of the adapters are [`Adapters::params`].
    pub fn with_adapters(&self, adapters: &Adapters) -> Self {
        self.overlaid(Overlay {
            tensors: adapters.params.tensors.clone(),
            alphas: adapters.alphas.clone(),
            controls: adapters.controls.clone(),
        })
    }
}

/// Shapes of all modules that have a `weight`.
fn layers(base: &Params) -> BTreeMap<String, Vec<usize>> {
    let named = base.shapes().into_iter();
    named
        .filter_map(|(name, shape)| Some((name.strip_suffix(".weight")?.to_owned(), shape)))
        .collect()
}
