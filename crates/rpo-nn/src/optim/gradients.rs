//! Gradients of a set of variables.

use crate::autograd::with_views;
use crate::parallel::{GRAIN, map};
use crate::simd::simd;
use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, TensorId, Var, bail};

#[inline(always)]
fn squares_body<const FMA: bool>(x: &[f32]) -> f64 {
    // Squares in f64: a gradient of 1e-25 or 1e25 neither vanishes nor overflows.
    let mut lanes = [0f64; 8];
    for x in x.chunks(8) {
        for (lane, &x) in lanes.iter_mut().zip(x) {
            *lane += f64::from(x) * f64::from(x);
        }
    }
    lanes.iter().sum()
}

simd! {
    fn squares(x: &[f32]) -> f64 = squares_body;
}

/// The sum of the squares of every tensor.
fn sums_of_squares(tensors: &[&Tensor]) -> Result<Vec<f64>> {
    #[cfg(feature = "cuda")]
    if tensors.iter().any(|t| t.device().is_cuda()) {
        // All of a GPU at once; others may be on the CPU.
        let there: Vec<&Tensor> = tensors
            .iter()
            .copied()
            .filter(|t| t.device().is_cuda())
            .collect();
        let mut sums = crate::gpu::squares(there[0].device(), &there)?.into_iter();
        let each = tensors.iter();
        return each
            .map(|t| match t.device().is_cuda() {
                true => Ok(sums.next().unwrap_or(f64::NAN)),
                false => sum_of_squares(t),
            })
            .collect();
    }
    tensors.iter().map(|t| sum_of_squares(t)).collect()
}

fn sum_of_squares(t: &Tensor) -> Result<f64> {
    with_views([&t.contiguous()?], |[t]| {
        let parts = map(t.data.len().div_ceil(GRAIN), |i| {
            squares(&t.data[i * GRAIN..((i + 1) * GRAIN).min(t.data.len())])
        });
        Ok(parts.iter().sum())
    })
}

pub(super) fn gradient<'a>(grads: &'a GradStore, name: &str, var: &Var) -> Result<&'a Tensor> {
    match grads.get(var) {
        Some(grad) if grad.dims() == var.dims() => Ok(grad),
        Some(grad) => bail!(
            "{name}: gradient {:?} of a tensor {:?}",
            grad.shape(),
            var.shape()
        ),
        None => bail!("{name}: no gradient; the loss does not depend on this tensor"),
    }
}

fn gradients<'a>(grads: &'a GradStore, vars: &[(String, Var)]) -> Result<Vec<&'a Tensor>> {
    let each = vars.iter();
    each.map(|(name, var)| gradient(grads, name, var)).collect()
}

/// Checks that two sets of variables have the same names and shapes, in the same order.
pub(super) fn named_alike(
    what: &str,
    these: &[(String, Var)],
    those: &[(String, Var)],
) -> Result<()> {
    if these.len() != those.len() {
        bail!("{what}: {} tensors and {}", these.len(), those.len())
    }
    for ((a, x), (b, y)) in these.iter().zip(those) {
        if a != b || x.dims() != y.dims() {
            bail!("{what}: {a} {:?} and {b} {:?}", x.dims(), y.dims())
        }
    }
    Ok(())
}

/// `sum` += `more`, tensor by tensor, on any device.
///
/// # Errors
/// Gradients of one tensor that differ in shape.
pub fn add_gradients(sum: &mut GradStore, more: &GradStore) -> Result<()> {
    let ids: Vec<TensorId> = more.get_ids().copied().collect();
    for id in ids {
        let Some(new) = more.get_id(id) else { continue };
        let added = match sum.get_id(id) {
            None => new.clone(),
            #[cfg(feature = "cuda")]
            Some(old) if old.device().is_cuda() => {
                crate::gpu::with_views([old, new], |gpu, [old, new]| gpu.accumulate(old, new))?;
                continue;
            }
            Some(old) => (old + new)?.detach(),
        };
        sum.insert_id(id, added);
    }
    Ok(())
}

/// The global Euclidean norm of the gradients of `vars`, summed in f64. NaN or infinite if a gradient is.
///
/// # Errors
/// If a variable has no gradient, with its name.
pub fn global_norm(grads: &GradStore, vars: &[(String, Var)]) -> Result<f64> {
    let sums = sums_of_squares(&gradients(grads, vars)?)?;
    Ok(sums.iter().sum::<f64>().sqrt())
}

/// The factor that reduces a gradient of norm `norm` to `max_norm`: min(1, max_norm / norm), as
/// `torch.nn.utils.clip_grad_norm_` but exactly 1 if nothing is clipped. Pass it to [`super::AdamW::step`].
pub fn clip_scale(norm: f64, max_norm: f64) -> f64 {
    // The last bits of f32 products must not raise the norm above the limit.
    if norm > max_norm {
        max_norm / norm * (1.0 - 1e-7)
    } else {
        1.0
    }
}

/// Checks that every variable has a finite gradient that is not all 0.
///
/// # Errors
/// With the first variable that violates this, and why.
pub fn check_gradients(vars: &[(String, Var)], grads: &GradStore) -> Result<()> {
    let sums = sums_of_squares(&gradients(grads, vars)?)?;
    for ((name, _), sum) in vars.iter().zip(sums) {
        let norm = sum.sqrt();
        if !norm.is_finite() {
            bail!("{name}: the gradient is not finite (norm {norm})")
        }
        if norm == 0.0 {
            bail!("{name}: the gradient is 0 everywhere; the tensor would not be trained")
        }
    }
    Ok(())
}
