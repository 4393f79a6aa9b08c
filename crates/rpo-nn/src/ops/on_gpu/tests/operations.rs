//! Every operation on the GPU against the same on the CPU: values and gradients, f32 and bf16. Without a GPU these tests say so and
//! end.

use crate::gpu::open;
use crate::ops::{self, Activation, ConvSpec, Mask};
use crate::place::host_values;
use crate::{Place, Tape};
use candle_core::{DType, Result, Tensor};
use half::bf16;
use std::io::Write;

fn places() -> Vec<Place> {
    match open(0) {
        Ok(device) => [DType::F32, DType::BF16]
            .map(|dtype| Place::new(device.clone(), dtype).unwrap())
            .into(),
        Err(e) => {
            // Past the capture of a passing test: CI counts these lines.
            let _ = writeln!(
                std::io::stderr(),
                "skipped: no GPU ({})",
                e.to_string().lines().next().unwrap_or_default()
            );
            vec![]
        }
    }
}

/// An argument: its values are those of a hash of its place.
#[derive(Clone)]
struct Arg {
    dims: Vec<usize>,
    role: Role,
    scale: f32,
}

#[derive(Clone, Copy, PartialEq)]
enum Role {
    /// In the dtype of activations.
    Activation,
    /// f32 everywhere, tracked.
    Weight,
    /// A convolution's kernel `[kh, kw, Ci, Co]`.
    Kernel,
    /// f32 everywhere, without a gradient.
    Frozen,
}

fn x(dims: &[usize]) -> Arg {
    arg(dims, Role::Activation)
}

fn w(dims: &[usize]) -> Arg {
    arg(dims, Role::Weight)
}

fn arg(dims: &[usize], role: Role) -> Arg {
    Arg {
        dims: dims.to_vec(),
        role,
        scale: 1.0,
    }
}

fn random(n: usize, seed: u64) -> Vec<f32> {
    let unit = |i: u64| ops::dropout::mix(i) as f64 / u64::MAX as f64;
    let at = |i: usize, k: u64| unit((i as u64 * 4 + k).wrapping_add(seed << 40));
    let normal = |i: usize| {
        let radius = (-2.0 * (at(i, 0) + 1e-12).ln()).sqrt();
        radius * (std::f64::consts::TAU * at(i, 1)).cos()
    };
    (0..n).map(|i| normal(i) as f32).collect()
}

/// `[kh kw Ci, Co]` to `[Co, kh kw Ci]`.
fn last_first(values: &[f32], co: usize) -> Vec<f32> {
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
fn worst(a: &[f32], b: &[f32]) -> f32 {
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

/// `f` on every place against the CPU. bf16 rounds what goes in, what comes out, and what lies between: a few steps of 2^-8.
fn compare(name: &str, args: &[Arg], f: impl Fn(&[Tensor]) -> Result<Tensor>) {
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

#[test]
fn linear_layers() {
    for (rows, i, o) in [(5, 8, 16), (33, 40, 24), (1, 64, 3)] {
        let all = [x(&[2, rows, i]), w(&[o, i]), w(&[o])];
        compare("linear", &all, |t| ops::linear(&t[0], &t[1], Some(&t[2])));
        compare("linear", &all[..2], |t| ops::linear(&t[0], &t[1], None));
    }
}

#[test]
fn convolutions() {
    for (k, ci, co, spec) in [
        (3, 8, 16, ConvSpec::same(3)),
        (3, 4, 8, ConvSpec::new(2, 1)),
        (1, 8, 12, ConvSpec::same(1)),
        (3, 8, 4, ConvSpec::new(1, 0)),
    ] {
        let all = [
            x(&[2, 7, 6, ci]),
            arg(&[k, k, ci, co], Role::Kernel),
            w(&[co]),
        ];
        compare("conv2d", &all, |t| {
            ops::conv2d(&t[0], &t[1], Some(&t[2]), spec)
        });
        compare("conv2d", &all[..2], |t| {
            ops::conv2d(&t[0], &t[1], None, spec)
        });
    }
}

/// The same without gradients, for what is only computed forwards.
fn compare_forward(name: &str, of: impl Fn(&Place) -> Result<Tensor>) {
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

/// The VAE's encoder pads below and to the right alone.
#[test]
fn convolutions_padded_on_two_sides() {
    let spec = ConvSpec {
        stride: 2,
        padding: [0, 1, 0, 1],
    };
    compare_forward("conv2d", |place| {
        let x = place.tensor(
            random(2 * 8 * 6 * 4, 1),
            &[2, 8, 6, 4],
            place.dtype(),
            false,
        )?;
        let w = random(9 * 4 * 8, 2);
        let (w, dims) = match place.is_cpu() {
            true => (w, [3, 3, 4, 8]),
            false => (last_first(&w, 8), [8, 3, 3, 4]),
        };
        let w = place.tensor(w, &dims, DType::F32, false)?;
        ops::conv2d(&x, &w, None, spec)
    });
}

#[test]
fn normalisations() {
    for (c, groups) in [(64, 32), (40, 8), (12, 3), (320, 32)] {
        for silu in [false, true] {
            let all = [x(&[2, 5, 7, c]), w(&[c]), w(&[c])];
            compare("group_norm", &all, |t| {
                ops::group_norm(&t[0], &t[1], &t[2], groups, 1e-5, silu)
            });
        }
        let all = [x(&[3, 11, c]), w(&[c]), w(&[c])];
        compare("layer_norm", &all, |t| {
            ops::layer_norm(&t[0], &t[1], &t[2], 1e-5)
        });
    }
}

#[test]
fn attentions() {
    for (n, m, heads, d) in [
        (16, 16, 2, 8),
        (70, 77, 2, 16),
        (9, 9, 2, 12),
        (33, 33, 1, 40),
        (16, 5, 2, 64),
        (20, 20, 1, 160),
    ] {
        let c = heads * d;
        let all = [x(&[2, n, c]), x(&[2, m, c]), x(&[2, m, c])];
        compare("attention", &all, |t| {
            ops::attention(&t[0], &t[1], &t[2], heads, &Mask::None)
        });
        if n == m {
            compare("causal attention", &all, |t| {
                ops::attention(&t[0], &t[1], &t[2], heads, &Mask::Causal)
            });
        }
        let mut keep = vec![1f32; 2 * m];
        (keep[0], keep[m + m / 2]) = (0.0, 0.0);
        let keep = Tensor::from_vec(keep, (2, m), &candle_core::Device::Cpu).unwrap();
        compare("masked attention", &all, |t| {
            ops::attention(&t[0], &t[1], &t[2], heads, &Mask::Keys(keep.clone()))
        });
    }
}

/// The VAE's one head of 512 channels goes by strips.
#[test]
fn attention_of_a_wide_head() {
    let dims = [2, 21, 192];
    compare_forward("attention", |place| {
        let [q, k, v] = [1, 2, 3].map(|seed| {
            let values = random(dims.iter().product(), seed);
            let rounded = values.into_iter().map(|v| bf16::from_f32(v).to_f32());
            place.tensor(rounded.collect(), &dims, place.dtype(), false)
        });
        ops::attention(&q?, &k?, &v?, 1, &Mask::None)
    });
}

#[test]
fn elementwise_operations() {
    let image = || x(&[2, 3, 5, 24]);
    compare("add", &[image(), image()], |t| ops::add(&t[0], &t[1]));
    compare("scale", &[image()], |t| ops::scale(&t[0], -1.5));
    let channels = [image(), x(&[2, 24])];
    compare("add_channels", &channels, |t| {
        ops::add_channels(&t[0], &t[1])
    });
    compare("mul_channels", &channels, |t| {
        ops::mul_channels(&t[0], &t[1])
    });
    compare("concat", &[image(), x(&[2, 3, 5, 7])], |t| {
        ops::concat_channels(&t[0], &t[1])
    });
    compare("geglu", &[image()], |t| ops::geglu(&t[0]));
    compare("upsample", &[image()], |t| {
        ops::upsample_nearest(&t[0], (6, 13))
    });
    compare("dropout", &[image()], |t| ops::dropout(&t[0], 0.3, 7));
    for function in [
        Activation::Silu,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::QuickGelu,
        Activation::Relu,
        Activation::Tanh,
        Activation::Sigmoid,
    ] {
        compare(&format!("{function:?}"), &[image()], |t| {
            ops::activation(&t[0], function)
        });
    }
}

#[test]
fn depthwise_convolutions() {
    for (k, spec) in [(3, ConvSpec::same(3)), (5, ConvSpec::new(2, 2))] {
        compare_forward("depthwise_conv2d", |place| {
            let at = |dims: &[usize], seed, dtype| {
                place.tensor(random(dims.iter().product(), seed), dims, dtype, false)
            };
            let x = at(&[2, 9, 8, 24], 1, place.dtype())?;
            let (w, b) = (at(&[k, k, 24], 2, DType::F32)?, at(&[24], 3, DType::F32)?);
            ops::depthwise_conv2d(&x, &w, Some(&b), spec)
        });
    }
}

/// A tensor used twice, a part that is computed again, and a step of AdamW.
#[test]
fn a_tape_and_a_step() {
    use crate::optim::{AdamW, AdamWConfig, clip_scale, global_norm};
    use candle_core::Var;
    let run = |place: &Place| -> Result<(Vec<f32>, f64)> {
        let input = place.tensor(random(6 * 16, 1), &[6, 16], place.dtype(), false)?;
        let w = place.tensor(random(16 * 16, 2), &[16, 16], DType::F32, true)?;
        let mut optimizer = AdamW::new(
            AdamWConfig::default(),
            vec![("w".into(), Var::from_tensor(&w)?)],
        )?;
        let vars = vec![("w".to_owned(), Var::from_tensor(&w)?)];
        let mut norm = 0.0;
        for _ in 0..3 {
            let tape = Tape::new(true)?;
            let out = tape.record(|| {
                let h = ops::activation(&ops::linear(&input, &w, None)?, Activation::Silu)?;
                let (again, from) = (w.clone(), h.clone());
                let part = tape.part(move || ops::linear(&from, &again, None))?;
                place.leave(&ops::add(&part, &h)?)
            })?;
            let grads = tape.backward(&out.sqr()?.mean_all()?)?;
            norm = global_norm(&grads, &vars)?;
            optimizer.step(&grads, clip_scale(norm, 1.0))?;
        }
        Ok((host_values(&w)?, norm))
    };
    let (want, norm) = run(&Place::default()).unwrap();
    for place in places() {
        let (got, same) = run(&place).unwrap();
        let bound = if place.dtype() == DType::BF16 {
            0.02
        } else {
            1e-5
        };
        assert!(
            worst(&got, &want) < bound,
            "{:?}: {}",
            place.dtype(),
            worst(&got, &want)
        );
        assert!(
            (same / norm - 1.0).abs() < f64::from(bound),
            "{same} {norm}"
        );
    }
}

/// Layers keep trained weights in the dtype of activations only until a step, or anything else, changes them.
#[test]
fn casts_follow_the_weights() {
    use crate::layers::Linear;
    use crate::optim::{AdamW, AdamWConfig};
    use crate::weights::Params;
    for place in places() {
        let tensor = |dims: &[usize], seed| {
            let values = random(dims.iter().product(), seed);
            Tensor::from_vec(values, dims, &candle_core::Device::Cpu).unwrap()
        };
        let tensors = [("weight", tensor(&[16, 24], 1)), ("bias", tensor(&[16], 2))];
        let tensors = tensors.map(|(name, t)| (name.to_owned(), t));
        let read = Params::from_tensors(tensors, "test", true).unwrap();
        let params = read.at(&place).unwrap();
        let layer = |params: &Params| Linear::new(&params.root(), 24, 16, true).unwrap();
        let x = place.enter(&tensor(&[5, 24], 3)).unwrap();
        let out = |layer: &Linear| {
            let tape = Tape::new(false).unwrap();
            let out = tape.record(|| place.leave(&layer.forward(&x)?));
            host_values(&out.unwrap()).unwrap()
        };
        let (trained, seen) = (layer(&params), layer(&params.detached()));
        let mut optimizer = AdamW::new(AdamWConfig::default(), params.vars()).unwrap();
        let mut before = vec![];
        for change in 0..3 {
            let want = out(&layer(&params.copy_to(&place, false).unwrap()));
            assert_ne!(want, before);
            assert_eq!(out(&trained), want, "after {change} changes");
            assert_eq!(out(&seen), want, "after {change} changes");
            before = want;
            if change == 0 {
                let tape = Tape::new(false).unwrap();
                let out = tape.record(|| place.leave(&trained.forward(&x)?)).unwrap();
                let grads = tape.backward(&out.sqr().unwrap().mean_all().unwrap());
                optimizer.step(&grads.unwrap(), 100.0).unwrap();
            } else {
                params.add_values("weight", vec![0.5; 16 * 24]).unwrap();
            }
        }
    }
}

/// The compressed PTX is that of the sources beside it.
#[test]
fn ptx_is_up_to_date() {
    use sha2::{Digest, Sha256};
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("cuda");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    files.sort();
    let mut hasher = Sha256::new();
    for extension in ["cu", "cuh"] {
        for file in files
            .iter()
            .filter(|f| f.extension().is_some_and(|e| e == extension))
        {
            hasher.update(std::fs::read(file).unwrap());
        }
    }
    let hash: String = hasher
        .finalize()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let noted = std::fs::read_to_string(folder.join("ptx/SOURCES")).unwrap();
    assert_eq!(hash, noted.trim(), "run scripts/cuda/ptx.sh");
}
