//! Values on their way into another model.

use anyhow::Result;
use candle_core::Error;
use rpo_files::failure::BadInput;
use rpo_nn::not_finite;
use rpo_nn::weights::{Item, Precision};
use std::cell::RefCell;

/// Checks values while they are written: finite, and within the dtype that they are written in.
pub struct Sound {
    precision: Precision,
    /// The first fault found.
    fault: RefCell<Option<String>>,
}

impl Sound {
    /// For values that are written as `precision`.
    pub fn new(precision: Precision) -> Self {
        Self {
            precision,
            fault: RefCell::default(),
        }
    }

    /// The dtype.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The same tensors, which give an error instead of values that are not sound; `label` names their file.
    pub fn items<'a>(&'a self, items: Vec<Item<'a>>, label: &'a str) -> Vec<Item<'a>> {
        let checked = |item: Item<'a>| {
            let (name, shape) = (item.name.clone(), item.shape.clone());
            Item::new(name, shape, move || {
                // What cannot be read is as bad as what is not sound.
                let unread = |e: &Error| *self.fault.borrow_mut() = Some(e.to_string());
                let values = item.values().inspect_err(unread)?;
                let Some(fault) = self.fault(&values, &item.shape) else {
                    return Ok(values);
                };
                let fault = format!("{label}: tensor {} holds {fault}", item.name);
                *self.fault.borrow_mut() = Some(fault.clone());
                Err(Error::msg(fault))
            })
        };
        items.into_iter().map(checked).collect()
    }

    fn fault(&self, values: &[f32], shape: &[usize]) -> Option<String> {
        if let Some(broken) = not_finite(values, shape) {
            return Some(format!(
                "no finite number: {broken}\n  hint: the file is damaged, or its training went astray; use another copy or checkpoint"
            ));
        }
        let value = values.iter().find(|v| self.precision.overflows(**v))?;
        Some(format!(
            "{value:e}, which f16 cannot hold\n  hint: write it as bf16 or f32 (--dtype)"
        ))
    }

    /// The result of writing them: [`BadInput`] if values were not sound, other failures as they are.
    ///
    /// # Errors
    /// The same.
    pub fn told<T>(&self, written: candle_core::Result<T>) -> Result<T> {
        match (written, self.fault.take()) {
            (Err(_), Some(fault)) => Err(BadInput::new(fault)),
            (written, _) => Ok(written?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rpo_files::failure::exit_code;

    #[test]
    fn what_is_not_sound_is_bad_input_and_a_full_disk_is_not() {
        let read = |value: f32, precision| {
            let sound = Sound::new(precision);
            let items = vec![Item::new("conv.weight", [2], move || Ok(vec![1.0, value]))];
            let items = sound.items(items, "unet/model.safetensors");
            sound.told(items[0].values())
        };
        assert_eq!(read(65504.0, Precision::F16).unwrap(), [1.0, 65504.0]);
        assert_eq!(read(1e30, Precision::Bf16).unwrap(), [1.0, 1e30]);
        for (value, precision, word) in [
            (f32::NAN, Precision::F32, "NaN"),
            (f32::NEG_INFINITY, Precision::Bf16, "-inf"),
            (1e30, Precision::F16, "f16 cannot hold"),
        ] {
            let error = read(value, precision).unwrap_err();
            let said = error.to_string();
            assert!(
                said.contains("unet/model.safetensors") && said.contains("conv.weight"),
                "{said}"
            );
            assert!(said.contains(word), "{said}");
            assert_eq!(exit_code(&error), 2);
        }
        let sound = Sound::new(Precision::F32);
        let full = sound.told::<()>(Err(Error::msg("disk full"))).unwrap_err();
        assert_eq!(exit_code(&full), 1);
    }
}
