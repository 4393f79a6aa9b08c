//! A LoRA worked into the weights of a U-Net, or taken out of them.

use candle_core::{Result, bail};
use rpo_nn::weights::{Archive, Item};

use super::file::Lora;

impl Lora {
    /// All tensors of `unet`, those of the LoRA's modules with `scale` · α/r · B A added: with `-scale` a merged U-Net gives back the
    /// base, exact to rounding. Sums are made in f32 when the tensor is written, so the network is never in memory as a whole.
    ///
    /// # Errors
    /// If a module is not one of the U-Net's, or of another size; the message names it.
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
