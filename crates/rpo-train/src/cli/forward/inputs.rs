//! The input file: tensors by name, with errors that say which are missing or misshapen.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use rpo_diffusion::{Added, Conditioning};
use rpo_files::failure::{BadInput, OrBadInput};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// A safetensors file of inputs, in PyTorch's layout.
pub(super) struct Inputs {
    path: PathBuf,
    tensors: HashMap<String, Tensor>,
}

impl Inputs {
    /// Reads the whole file.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let tensors = candle_core::safetensors::load(path, &Device::Cpu)
            .or_bad_input(format!("--inputs {}", path.display()))?;
        Ok(Self {
            path: path.to_path_buf(),
            tensors,
        })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    fn error(&self, message: &str) -> anyhow::Error {
        let mut names: Vec<String> = self
            .tensors
            .iter()
            .map(|(k, t)| format!("{k} {:?}", t.dims()))
            .collect();
        names.sort();
        BadInput::new(format!(
            "{}: {message}\n  the file holds: {}\n  hint: docs/forward.md lists the tensors of every part",
            self.path.display(),
            names.join(", ")
        ))
    }

    /// The tensor `name` as stored.
    pub(super) fn raw(&self, name: &str) -> Result<&Tensor> {
        let tensor = self.tensors.get(name);
        tensor.ok_or_else(|| self.error(&format!("the tensor `{name}` is missing")))
    }

    /// `name` as f32, of `rank` dimensions.
    pub(super) fn f32(&self, name: &str, rank: usize) -> Result<Tensor> {
        let tensor = self.raw(name)?;
        if tensor.rank() != rank || tensor.elem_count() == 0 {
            let message = format!(
                "`{name}` {:?} should have {rank} dimensions, none of them 0",
                tensor.dims()
            );
            return Err(self.error(&message));
        }
        tensor.to_dtype(DType::F32).or_bad_input(name)
    }

    /// `name`, stored `[B, C, H, W]`, as `[B, H, W, C]`.
    pub(super) fn nhwc(&self, name: &str) -> Result<Tensor> {
        Ok(self.f32(name, 4)?.permute((0, 2, 3, 1))?.contiguous()?)
    }

    /// Numbers: a scalar, or one per sample.
    pub(super) fn numbers(&self, name: &str) -> Result<Vec<f64>> {
        let numbers = self
            .raw(name)?
            .to_dtype(DType::F64)
            .and_then(|t| t.flatten_all()?.to_vec1());
        numbers.or_bad_input(name)
    }

    /// Non-negative integers.
    pub(super) fn whole_numbers(&self, name: &str) -> Result<Vec<usize>> {
        let whole = |x: f64| (x >= 0.0 && x.fract() == 0.0).then_some(x as usize);
        let numbers: Option<Vec<usize>> = self.numbers(name)?.into_iter().map(whole).collect();
        numbers.ok_or_else(|| self.error(&format!("`{name}` should hold whole numbers from 0")))
    }

    /// Token ids `[B, S]`: whole numbers of 32 bits.
    pub(super) fn ids(&self, name: &str) -> Result<Vec<Vec<u32>>> {
        let &[rows, length] = self.raw(name)?.dims() else {
            return Err(self.error(&format!("`{name}` should be [B, S]")));
        };
        if rows * length == 0 {
            return Err(self.error(&format!("`{name}` is empty")));
        }
        let most = f64::from(u32::MAX);
        let id = |value: f64| {
            let whole = value.fract() == 0.0 && (0.0..=most).contains(&value);
            let wanted =
                || format!("`{name}` holds {value}: ids are whole numbers from 0 to {most}");
            whole
                .then_some(value as u32)
                .ok_or_else(|| self.error(&wanted()))
        };
        let ids: Vec<u32> = self
            .numbers(name)?
            .into_iter()
            .map(id)
            .collect::<Result<_>>()?;
        Ok(ids.chunks(length).map(<[u32]>::to_vec).collect())
    }

    /// The mask of the ids, 0 or 1 for each of them; all 1 without one.
    pub(super) fn mask(&self, ids: &[Vec<u32>]) -> Result<Vec<Vec<u32>>> {
        let name = "attention_mask";
        if !self.has(name) {
            return Ok(ids.iter().map(|row| vec![1; row.len()]).collect());
        }
        let mask = self.ids(name)?;
        let shape = |rows: &[Vec<u32>]| (rows.len(), rows.first().map_or(0, Vec::len));
        if shape(&mask) != shape(ids) || mask.iter().flatten().any(|value| *value > 1) {
            let message = format!(
                "`{name}` should hold 0 or 1 for each of the ids {:?}",
                shape(ids)
            );
            return Err(self.error(&message));
        }
        Ok(mask)
    }

    /// CLIP's text tower has a causal mask alone: a mask that would change what it reads is refused.
    pub(super) fn refuse_mask(&self) -> Result<()> {
        if self.has("attention_mask") && self.numbers("attention_mask")?.contains(&0.0) {
            return Err(self.error(
                "`attention_mask` holds 0: padding is not masked here, as in the pipelines of diffusers, and after EOS it changes no pooled state; leave the mask away",
            ));
        }
        Ok(())
    }

    /// `encoder_hidden_states<suffix>`, with `text_embeds<suffix>` and `time_ids<suffix>` (else `time_ids`, else those of
    /// square pictures of `size` pixels) where the file has them.
    pub(super) fn conditioning(&self, suffix: &str, size: usize) -> Result<Conditioning> {
        let hidden_states = self.f32(&format!("encoder_hidden_states{suffix}"), 3)?;
        let pooled = format!("text_embeds{suffix}");
        if !self.has(&pooled) {
            return Ok(hidden_states.into());
        }
        let text_embeds = self.f32(&pooled, 2)?;
        let own = format!("time_ids{suffix}");
        let ids = [own.as_str(), "time_ids"]
            .into_iter()
            .find(|name| self.has(name));
        let added = match ids {
            None => Added::square(text_embeds, size)?,
            Some(name) => Added {
                text_embeds,
                time_ids: self.f32(name, 2)?,
            },
        };
        Ok(Conditioning {
            hidden_states,
            added: Some(added),
        })
    }
}

/// `[B, H, W, C]` to PyTorch's `[B, C, H, W]`.
pub(super) fn nchw(t: &Tensor) -> Result<Tensor> {
    Ok(t.permute((0, 3, 1, 2))?.contiguous()?)
}
