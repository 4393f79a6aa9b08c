//! Merging a LoRA into the weights of a U-Net, or removing it.

use candle_core::{Result, bail};
use rpo_nn::weights::{Archive, Item};

use super::file::Lora;

impl Lora {
    /// All tensors of `unet`, with `scale` · α/r · B A added to those of the LoRA's modules: `-scale` turns a merged U-Net back into
    /// the base, exact up to rounding. Sums are computed in f32 when a tensor is written, so the network is never in memory as a whole.
    ///
    /// # Errors
    /// If a module is not in the U-Net or has another size, with its name.
    pub fn merged<'a>(&'a self, unet: &'a Archive, scale: f64) -> Result<Vec<Item<'a>>> {
        for (name, module) in &self.modules {
            let shape = unet.shape(&format!("{name}.weight"));
            let Some(shape) = shape else {
                bail!(
                    "{}: there is no module {name}; the LoRA belongs to another model",
                    unet.label()
                )
            };
            let inputs: usize = module.a.dims()[1..].iter().product();
            if shape[0] != module.b.dims()[0] || shape[1..].iter().product::<usize>() != inputs {
                bail!(
                    "{name}: A {:?} and B {:?} do not fit its weight {shape:?} of {}; the LoRA belongs to another model",
                    module.a.dims(),
                    module.b.dims(),
                    unet.label()
                )
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
