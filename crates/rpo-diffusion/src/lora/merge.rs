//! Merging a LoRA into the weights of a U-Net, or removing it.

use candle_core::{Result, bail};
use rpo_nn::weights::{Archive, Item};

use super::file::Lora;

impl Lora {
    /// All tensors of `unet`, with `scale` · α/r · B A added to those of the LoRA's modules: `-scale` turns a merged U-Net back into
    /// the base, exact up to rounding. Sums are computed in f32 when a tensor is written, so the network is never in memory as a whole.
    ///
    /// # Errors
    /// If a module is not in the U-Net or has another size, or the scale is not finite, with its name; when an item is read, if a sum is
    /// not finite.
    pub fn merged<'a>(&'a self, unet: &'a Archive, scale: f64) -> Result<Vec<Item<'a>>> {
        if !scale.is_finite() {
            bail!("the scale {scale} is no finite number")
        }
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
                    if let Some(value) = values.iter().find(|w| !w.is_finite()) {
                        bail!(
                            "{name}: {scale} times the LoRA makes a weight {value}\n  hint: the LoRA is too strong for any model; merge it with a smaller scale"
                        )
                    }
                }
                Ok(values)
            })
        };
        Ok(unet.names().map(item).collect())
    }
}
