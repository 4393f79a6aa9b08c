//! The same computation at every [`Place`].

use crate::gpu::open;
use crate::ops;
use crate::place::host_values;
use crate::{Place, Tape};
use candle_core::{DType, Result, Tensor};
use half::bf16;
use std::io::Write;

pub(super) fn places() -> Vec<Place> {
    match open(0) {
        Ok(device) => [DType::F32, DType::BF16]
            .map(|dtype| Place::new(device.clone(), dtype).unwrap())
            .into(),
        Err(e) => {
            // Not captured in a passing test: CI counts these lines.
            let _ = writeln!(
                std::io::stderr(),
                "skipped: no GPU ({})",
                e.to_string().lines().next().unwrap_or_default()
            );
            vec![]
        }
    }
}

/// An argument: each value is a hash of its index.
#[derive(Clone)]
pub(super) struct Arg {
    dims: Vec<usize>,
    role: Role,
    scale: f32,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Role {
    /// In the dtype of activations.
    Activation,
    /// f32 everywhere, tracked.
    Weight,
    /// A convolution's kernel `[kh, kw, Ci, Co]`.
    Kernel,
    /// f32 everywhere, without a gradient.
    Frozen,
}

pub(super) fn x(dims: &[usize]) -> Arg {
    arg(dims, Role::Activation)
}

pub(super) fn w(dims: &[usize]) -> Arg {
    arg(dims, Role::Weight)
}

pub(super) fn arg(dims: &[usize], role: Role) -> Arg {
    Arg {
        dims: dims.to_vec(),
        role,
        scale: 1.0,
    }
}

pub(super) fn random(n: usize, seed: u64) -> Vec<f32> {
    let unit = |i: u64| ops::dropout::mix(i) as f64 / u64::MAX as f64;
    let at = |i: usize, k: u64| unit((i as u64 * 4 + k).wrapping_add(seed << 40));
    let normal = |i: usize| {
        let radius = (-2.0 * (at(i, 0) + 1e-12).ln()).sqrt();
        radius * (std::f64::consts::TAU * at(i, 1)).cos()
    };
    (0..n).map(|i| normal(i) as f32).collect()
}

/// `[kh kw Ci, Co]` to `[Co, kh kw Ci]`.
pub(super) fn last_first(values: &[f32], co: usize) -> Vec<f32> {
    (0..co)
        .flat_map(|o| values.iter().skip(o).step_by(co))
        .copied()
        .collect()
}

/// Result and gradients of `f` at `place`, the gradients of sum(r f) for a fixed random r.
fn run(
    place: &Place,
    args: &[Arg],
    round: bool,
    f: &dyn Fn(&[Tensor]) -> Result<Tensor>,
) -> Result<Vec<Vec<f32>>> {
    let mut tensors = vec![];
    for (i, arg) in args.iter().enumerate() {
        let mut values = random(arg.dims.iter().product(), i as u64 + 1);
        let round = round && matches!(arg.role, Role::Activation | Role::Kernel);
        for v in &mut values {
            *v *= arg.scale;
            if round {
                *v = bf16::from_f32(*v).to_f32();
            }
        }
        let mut dims = arg.dims.clone();
        if arg.role == Role::Kernel && !place.is_cpu() {
            values = last_first(&values, dims[3]);
            dims.rotate_right(1);
        }
        let dtype = match arg.role {
            Role::Activation => place.dtype(),
            _ => DType::F32,
        };
        tensors.push(place.tensor(values, &dims, dtype, arg.role != Role::Frozen)?);
    }
    let tape = Tape::new(false)?;
    let out = tape.record(|| place.leave(&f(&tensors)?))?;
    let r = Tensor::from_vec(
        random(out.elem_count(), 99),
        out.dims(),
        &candle_core::Device::Cpu,
    )?;
    let mut all = vec![host_values(&out)?];
    let grads = tape.backward(&(&out * &r)?.sum_all()?)?;
    for (arg, t) in args.iter().zip(&tensors) {
        if arg.role == Role::Frozen {
            continue;
        }
        let Some(grad) = grads.get(t) else {
            candle_core::bail!("no gradient of {:?}", arg.dims)
        };
        let mut values = host_values(grad)?;
        if arg.role == Role::Kernel && !place.is_cpu() {
            let rows = values.len() / arg.dims[3];
            values = last_first(&values, rows);
        }
        all.push(values);
    }
    Ok(all)
}

/// Largest difference, in units of the largest value.
pub(super) fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let scale = b.iter().fold(1e-20f32, |m, v| m.max(v.abs()));
    let nan = a.iter().any(|v| !v.is_finite());
    let each = a.iter().zip(b).map(|(a, b)| (a - b).abs() / scale);
    if nan {
        f32::INFINITY
    } else {
        each.fold(0.0, f32::max)
    }
}

/// `f` at every place against the CPU. bf16 rounds inputs, outputs and intermediate values: a few steps of 2^-8.
pub(super) fn compare(name: &str, args: &[Arg], f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    for place in places() {
        let rounded = place.dtype() == DType::BF16;
        let bound = if rounded { 0.02 } else { 1e-5 };
        let want = run(&Place::default(), args, rounded, &f).unwrap();
        let got = run(&place, args, rounded, &f).unwrap();
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            let error = worst(got, want);
            let what = if i == 0 {
                "result".into()
            } else {
                format!("gradient {}", i - 1)
            };
            assert!(
                error < bound,
                "{name} in {:?}: {what} off by {error}",
                place.dtype()
            );
        }
    }
}

/// The same without gradients, for forward-only operations.
pub(super) fn compare_forward(name: &str, of: impl Fn(&Place) -> Result<Tensor>) {
    let want = host_values(&of(&Place::default()).unwrap()).unwrap();
    for place in places() {
        let got = host_values(&of(&place).unwrap()).unwrap();
        let error = worst(&got, &want);
        let bound = if place.dtype() == DType::BF16 {
            0.02
        } else {
            1e-5
        };
        assert!(
            error < bound,
            "{name} in {:?}: off by {error}",
            place.dtype()
        );
    }
}
