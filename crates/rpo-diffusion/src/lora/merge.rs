//! Merging a LoRA into the weights of a U-Net and of text encoders, or removing it.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor, bail};
use rpo_nn::lora::LoraModule;
use rpo_nn::weights::{Archive, Item};

use super::file::Lora;
use super::text_names::MODEL;

/// The modules of a network without adapters.
static NONE: BTreeMap<String, LoraModule> = BTreeMap::new();

impl Lora {
    /// Refuses a LoRA and a scale that would make a weight of `unet` larger than `largest`. Costs next to nothing where that is out of
    /// the question, as it is for every LoRA that a training left whole.
    ///
    /// # Errors
    /// If a weight would be, with the module; if the scale is not finite; if the weights cannot be read.
    pub fn refuse_overflow(&self, unet: &Archive, scale: f64, largest: f32) -> Result<()> {
        Target::unet(self, unet).refuse_overflow(scale, largest)
    }

    /// As [`Self::refuse_overflow`], for the text encoder number `encoder`, from 0.
    ///
    /// # Errors
    /// As [`Self::refuse_overflow`].
    pub fn refuse_overflow_text(
        &self,
        encoder: usize,
        weights: &Archive,
        scale: f64,
        largest: f32,
    ) -> Result<()> {
        Target::text(self, encoder, weights).refuse_overflow(scale, largest)
    }

    /// All tensors of `unet`, with `scale` · α/r · B A added to those of the LoRA's modules: `-scale` turns a merged U-Net back into
    /// the base, exact up to rounding. Sums are computed in f32 when a tensor is written, so the network is never in memory as a whole.
    ///
    /// # Errors
    /// If a module is not in the U-Net or has another size, with its name.
    pub fn merged<'a>(&'a self, unet: &'a Archive, scale: f64) -> Result<Vec<Item<'a>>> {
        Target::unet(self, unet).merged(scale)
    }

    /// As [`Self::merged`], all tensors of the text encoder number `encoder`, from 0, whose names may have the prefix `text_model` or
    /// not.
    ///
    /// # Errors
    /// As [`Self::merged`].
    pub fn merged_text<'a>(
        &'a self,
        encoder: usize,
        weights: &'a Archive,
        scale: f64,
    ) -> Result<Vec<Item<'a>>> {
        Target::text(self, encoder, weights).merged(scale)
    }
}

/// A network's weights and the adapters for them.
#[derive(Clone, Copy)]
struct Target<'a> {
    lora: &'a Lora,
    modules: &'a BTreeMap<String, LoraModule>,
    weights: &'a Archive,
    /// What the names of modules have before those of the weights.
    before: &'static str,
}

impl<'a> Target<'a> {
    fn unet(lora: &'a Lora, weights: &'a Archive) -> Self {
        Self {
            lora,
            modules: &lora.modules,
            weights,
            before: "",
        }
    }

    fn text(lora: &'a Lora, encoder: usize, weights: &'a Archive) -> Self {
        let prefixed = weights.names().any(|name| name.starts_with(MODEL));
        Self {
            lora,
            modules: lora.text.get(encoder).unwrap_or(&NONE),
            weights,
            before: if prefixed { "" } else { MODEL },
        }
    }

    /// The name of a module's weight.
    fn weight(&self, module: &str) -> String {
        let name = module.strip_prefix(self.before).unwrap_or(module);
        format!("{name}.weight")
    }

    /// The adapter of a weight.
    fn module(&self, weight: &str) -> Option<&'a LoraModule> {
        let name = weight.strip_suffix(".weight")?;
        self.modules.get(&format!("{}{name}", self.before))
    }

    fn refuse_overflow(self, scale: f64, largest: f32) -> Result<()> {
        if !scale.is_finite() {
            bail!("the scale {scale} is no finite number")
        }
        for (name, module) in self.modules {
            // |(B A)[i, j]| ≤ r max|B| max|A|
            let bound = scale.abs() * module.alpha.abs() * max(&module.a)? * max(&module.b)?;
            if bound < f64::from(largest) / 4.0 {
                continue;
            }
            let weights = self.weights.values(&self.weight(name))?;
            let sums = weights.iter().zip(module.delta(scale)?);
            let sums = sums.map(|(w, d)| w + d);
            if let Some(sum) = sums.into_iter().find(|s| s.is_nan() || s.abs() > largest) {
                bail!(
                    "module {name}: {scale} times the LoRA makes a weight {sum}, and no more than {largest} can be written\n  hint: the LoRA is too strong for any model, or --scale or --dtype is meant otherwise"
                )
            }
        }
        Ok(())
    }

    fn merged(self, scale: f64) -> Result<Vec<Item<'a>>> {
        let weights = self.weights;
        for (name, module) in self.modules {
            let weight = self.weight(name);
            let Some(shape) = weights.shape(&weight) else {
                return Err(self.lora.misfit(&format!(
                    "{}: there is no module {name}; the LoRA belongs to another model",
                    weights.label()
                )));
            };
            let inputs = module.a.dims().iter().skip(1).product::<usize>();
            let &[outputs, ref rest @ ..] = shape else {
                bail!("{}: tensor {weight} is one number", weights.label())
            };
            if module.b.dims().first() != Some(&outputs) || rest.iter().product::<usize>() != inputs
            {
                return Err(self.lora.misfit(&format!(
                    "{name}: A {:?} and B {:?} do not fit its weight {shape:?} of {}; the LoRA belongs to another model",
                    module.a.dims(),
                    module.b.dims(),
                    weights.label()
                )));
            }
        }
        let item = |name: &'a str| {
            let module = self.module(name);
            Item::new(name, weights.shape(name).unwrap_or_default(), move || {
                let mut values = weights.values(name)?;
                if let Some(module) = module {
                    let delta = module.delta(scale)?;
                    values.iter_mut().zip(delta).for_each(|(w, d)| *w += d);
                }
                Ok(values)
            })
        };
        Ok(weights.names().map(item).collect())
    }
}

/// The largest magnitude in a matrix.
fn max(matrix: &Tensor) -> Result<f64> {
    let largest = matrix.abs()?.flatten_all()?.max(0)?;
    Ok(f64::from(largest.to_scalar::<f32>()?))
}
