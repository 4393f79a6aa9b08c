//! Merging a LoRA into the weights of a U-Net, or removing it.

use candle_core::{Result, Tensor, bail};
use rpo_nn::weights::{Archive, Item};

use super::file::Lora;

impl Lora {
    /// Refuses a LoRA and a scale that would make a weight of `unet` larger than `largest`. Costs next to nothing where that is out of
    /// the question, as it is for every LoRA that a training left whole.
    ///
    /// # Errors
    /// If a weight would be, with the module; if the scale is not finite; if the weights cannot be read.
    pub fn refuse_overflow(&self, unet: &Archive, scale: f64, largest: f32) -> Result<()> {
        if !scale.is_finite() {
            bail!("the scale {scale} is no finite number")
        }
        for (name, module) in &self.modules {
            // |(B A)[i, j]| ≤ r max|B| max|A|
            let bound = scale.abs() * module.alpha.abs() * max(&module.a)? * max(&module.b)?;
            if bound < f64::from(largest) / 4.0 {
                continue;
            }
            let weights = unet.values(&format!("{name}.weight"))?;
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

    /// All tensors of `unet`, with `scale` · α/r · B A added to those of the LoRA's modules: `-scale` turns a merged U-Net back into
    /// the base, exact up to rounding. Sums are computed in f32 when a tensor is written, so the network is never in memory as a whole.
    ///
    /// # Errors
    /// If a module is not in the U-Net or has another size, with its name.
    pub fn merged<'a>(&'a self, unet: &'a Archive, scale: f64) -> Result<Vec<Item<'a>>> {
        for (name, module) in &self.modules {
            let shape = unet.shape(&format!("{name}.weight"));
            let Some(shape) = shape else {
                return Err(self.misfit(&format!(
                    "{}: there is no module {name}; the LoRA belongs to another model",
                    unet.label()
                )));
            };
            let inputs = module.a.dims().iter().skip(1).product::<usize>();
            let &[outputs, ref rest @ ..] = shape else {
                bail!("{}: tensor {name}.weight is one number", unet.label())
            };
            if module.b.dims().first() != Some(&outputs) || rest.iter().product::<usize>() != inputs
            {
                return Err(self.misfit(&format!(
                    "{name}: A {:?} and B {:?} do not fit its weight {shape:?} of {}; the LoRA belongs to another model",
                    module.a.dims(),
                    module.b.dims(),
                    unet.label()
                )));
            }
        }
        let item = |name: &'a str| {
            let module = name
                .strip_suffix(".weight")
                .and_then(|m| self.modules.get(m));
            Item::new(name, unet.shape(name).unwrap_or_default(), move || {
                let mut values = unet.values(name)?;
                if let Some(module) = module {
                    let delta = module.delta(scale)?;
                    values.iter_mut().zip(delta).for_each(|(w, d)| *w += d);
                }
                Ok(values)
            })
        };
        Ok(unet.names().map(item).collect())
    }
}

/// The largest magnitude in a matrix.
fn max(matrix: &Tensor) -> Result<f64> {
    let largest = matrix.abs()?.flatten_all()?.max(0)?;
    Ok(f64::from(largest.to_scalar::<f32>()?))
}
