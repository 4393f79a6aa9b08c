//! A module's adapter from the tensors found of it.

use candle_core::{Device, Result, Tensor, bail};
use rpo_files::printable::printable_name;
use rpo_nn::lora::LoraModule;
use rpo_nn::not_finite;
use rpo_nn::weights::Stored;

use super::keys::{Key, Part};
use super::peft::PeftConfig;

/// Strengths that programs write in two places may differ by the rounding of the narrowest dtype.
const SAME: f64 = 1.0 / 128.0;

/// The tensors of one module.
#[derive(Debug, Default)]
pub(super) struct Found<'a> {
    a: Option<Stored<'a>>,
    b: Option<Stored<'a>>,
    mid: Option<Stored<'a>>,
    alpha: Option<Stored<'a>>,
    /// The module's name in the keys of A and B.
    place: &'a str,
}

impl<'a> Found<'a> {
    /// Adds a tensor; refuses a second one of the same part.
    pub(super) fn add(
        &mut self,
        key: &Key<'a>,
        tensor: Stored<'a>,
        module: &str,
        label: &str,
    ) -> Result<()> {
        let slot = match key.part {
            Part::A => &mut self.a,
            Part::B => &mut self.b,
            Part::Mid => &mut self.mid,
            Part::Alpha => &mut self.alpha,
        };
        if let Some(other) = slot {
            bail!(
                "{label}: {} and {} are both of module {module}, and only one can count\n  hint: keep the keys of one naming; two LoRA files in one must be separated",
                printable_name(other.name()),
                printable_name(tensor.name())
            )
        }
        *slot = Some(tensor);
        if key.part != Part::Alpha {
            self.place = key.place;
        }
        Ok(())
    }

    /// The adapter; `configs` are the configurations that may hold its α.
    pub(super) fn build(
        self,
        name: &str,
        configs: &[&PeftConfig],
        label: &str,
    ) -> Result<LoraModule> {
        let what = format!("{label}: module {name}");
        let (Some(a), Some(b)) = (self.a, self.b) else {
            if self.a.is_none() && self.b.is_none() {
                bail!(
                    "{what} has neither of its two matrices (down and up, A and B); the file is damaged"
                )
            }
            bail!(
                "{what} has only one of its two matrices (down and up, A and B); the file is damaged"
            )
        };
        let (rank, a_shape, b_shape) = fit(a.shape(), b.shape(), &what)?;
        let (mut a, b) = (read(a, &a_shape, &what)?, read(b, &b_shape, &what)?);
        if let Some(mid) = self.mid {
            a = with_mid(&a, mid, &what)?;
        }
        let mut strengths = Vec::new();
        if let Some(tensor) = self.alpha {
            let source = printable_name(tensor.name()).into_owned();
            strengths.push((tensor.number()?, source));
        }
        for config in configs {
            strengths.push((config.alpha(self.place, rank)?, config.source().to_owned()));
        }
        let mut alpha: Option<(f64, String)> = None;
        for (value, source) in strengths {
            if !value.is_finite() || value == 0.0 {
                bail!(
                    "{what}: alpha = {value} ({source}); programs do not agree on what that means\n  hint: alpha is a finite number other than 0, often the rank, which is {rank}"
                )
            }
            match &alpha {
                None => alpha = Some((value, source)),
                Some((first, at)) if (value - first).abs() > SAME * first.abs() => bail!(
                    "{what}: alpha is {first} in {at}, and {value} in {source}\n  hint: one of the two is of another training; remove it"
                ),
                Some(_) => {}
            }
        }
        // A LoRA that says nothing is scaled by 1.
        let alpha = alpha.map_or(rank as f64, |(alpha, _)| alpha);
        Ok(LoraModule { a, b, alpha })
    }
}

/// The rank, and the shapes of A and B with as many dimensions each. Programs leave out the ones of a 1x1 kernel on either side.
fn fit(a: &[usize], b: &[usize], what: &str) -> Result<(usize, Vec<usize>, Vec<usize>)> {
    if a.contains(&0) || b.contains(&0) || a.len() < 2 || b.len() < 2 {
        bail!(
            "{what}: down {a:?} and up {b:?} are no two matrices with values\n  hint: training on several GPUs leaves such files where the shards were not gathered before saving"
        )
    }
    match (a, b) {
        (&[rank, _, ref kernel @ ..], &[output, b_rank, ref ones @ ..])
            if rank == b_rank
                && matches!(kernel.len(), 0 | 2)
                && matches!(ones.len(), 0 | 2)
                && ones.iter().all(|one| *one == 1) =>
        {
            let mut b = vec![1; a.len()];
            (b[0], b[1]) = (output, rank);
            Ok((rank, a.to_vec(), b))
        }
        _ => bail!(
            "{what}: down {a:?} and up {b:?} do not fit each other ([r, input, ..] and [output, r, 1..])"
        ),
    }
}

/// The values in a shape of the same number of values, all finite.
fn read(tensor: Stored, shape: &[usize], what: &str) -> Result<Tensor> {
    let values = tensor.values()?;
    if let Some(broken) = not_finite(&values, tensor.shape()) {
        bail!(
            "{what}: {}, {broken}: the training that made it broke\n  hint: take an earlier checkpoint of that training",
            printable_name(tensor.name())
        )
    }
    Tensor::from_vec(values, shape, &Device::Cpu)
}

/// LyCORIS' Tucker form: A 1x1 `[r, input]`, then a kernel `[r, r, k, k]`. As one matrix it is
/// A'\[j, c\] = Σ_i mid\[j, i\] A\[i, c\], of shape `[r, input, k, k]`.
fn with_mid(a: &Tensor, mid: Stored, what: &str) -> Result<Tensor> {
    let rank = a.dim(0)?;
    let &[first, second, kh, kw] = mid.shape() else {
        bail!(
            "{what}: lora_mid of shape {:?} is no kernel [r, r, k, k]",
            mid.shape()
        )
    };
    if first != rank || second != rank || a.dims().iter().skip(2).any(|k| *k != 1) {
        bail!(
            "{what}: lora_mid {:?} does not fit down {:?} ([r, r, k, k] and [r, input, 1, 1])",
            mid.shape(),
            a.dims()
        )
    }
    let mid = read(mid, mid.shape(), what)?;
    let mid = mid.permute((0, 2, 3, 1))?.contiguous()?;
    let input = a.dim(1)?;
    let product = mid
        .reshape(((), rank))?
        .matmul(&a.reshape((rank, input))?)?;
    let product = product.reshape((rank, kh, kw, input))?;
    product.permute((0, 3, 1, 2))?.contiguous()
}
