//! Outputs, gradients and merged weights against peft.

use super::common::{ALPHA, file, golden_modules, lora_golden, torch_layout};
use crate::support::{Golden, assert_close, f64s, on_pool, relative, tiny_unet};
use candle_core::{Device, Result, Tensor};
use rpo_diffusion::UNet2DConditionModel;
use rpo_diffusion::lora::{Adapters, LoraConfig};
use rpo_nn::ops;
use rpo_nn::weights::{Archive, Params, Precision, write};
use std::collections::{BTreeMap, HashMap};

#[test]
fn outputs_gradients_and_merged_weights_are_those_of_peft() -> Result<()> {
    for (name, alpha) in ALPHA {
        let (base_golden, golden) = (Golden::load(&format!("tiny_{name}"))?, lora_golden(name)?);
        let (config, base) = tiny_unet(&format!("tiny_{name}"), &base_golden, false)?;
        let adapters = Adapters::from_modules(&base, &golden_modules(&golden, alpha)?, true)?;
        let theta = UNet2DConditionModel::new(&config, &base.with_adapters(&adapters).root())?;
        assert_eq!(adapters.params().unused(), Vec::<String>::new());
        let reference = UNet2DConditionModel::new(&config, &base.root())?;

        let (x_t, hidden) = (base_golden.nhwc("x_t")?, base_golden.text("hidden")?);
        let t: Vec<f64> = base_golden.f64s("t")?;
        let forward = |unet: &UNet2DConditionModel| unet.forward(&x_t, &t, &hidden);
        let output = forward(&theta)?;
        assert_close(
            &format!("{name} adapted"),
            &output,
            &golden.nhwc("out")?,
            1e-5,
        );
        assert_close(
            &format!("{name} adapters off"),
            &forward(&reference)?,
            &base_golden.nhwc("out")?,
            1e-5,
        );

        let target = base_golden.nhwc("target")?;
        let loss = ops::mean_squared_per_sample(&output, &target)?.mean_all()?;
        let grads = on_pool(|| loss.backward())?;
        let expected = golden.below("grad.");
        let vars = adapters.params().vars();
        assert_eq!(vars.len(), expected.len());
        let (mut off, mut norm, mut worst) = (0.0, 0.0, 0f64);
        for (key, var) in vars {
            let grad = torch_layout(grads.get(&var).expect("a gradient"))?;
            let figure = relative(&grad, &expected[&key])?;
            assert!(
                figure <= 1e-3,
                "{name}: gradient of {key} is off by {figure:e}"
            );
            let square: f64 = f64s(&expected[&key])?.iter().map(|x| x * x).sum();
            (off, norm) = (off + figure * figure * square, norm + square);
            worst = worst.max(figure);
        }
        let all = (off / norm).sqrt();
        println!("{name} gradients of A and B: all {all:.2e}, worst {worst:.2e}");
        assert!(all <= 1e-4, "{name}: {all:e}");
        assert!(base.vars().is_empty(), "the base is frozen");

        adapters.set_scale(0.5);
        let half = forward(&theta)?;
        assert_close(
            &format!("{name} at scale 0.5"),
            &half,
            &golden.nhwc("out_half")?,
            1e-5,
        );
        adapters.set_scale(0.0);
        assert_eq!(f64s(&forward(&theta)?)?, f64s(&forward(&reference)?)?);

        let before: HashMap<_, _> = base.tensors_sorted()?.into_iter().collect();
        adapters.merge_into(&base, 0.5)?;
        let merged: HashMap<_, _> = base.tensors_sorted()?.into_iter().collect();
        let fused = golden.below("fused.");
        assert_eq!(fused.len(), 4);
        for (module, weight) in &fused {
            let ours = &merged[&format!("{module}.weight")];
            assert_close(&format!("{name} fused {module}"), ours, weight, 1e-6);
        }
        assert_close(
            &format!("{name} merged"),
            &forward(&reference)?,
            &half,
            1e-5,
        );
        adapters.merge_into(&base, -0.5)?;
        for (key, after) in base.tensors_sorted()? {
            let figure = relative(&after, &before[&key])?;
            assert!(figure <= 2e-7, "{name}: {key} comes back with {figure:e}");
        }
    }
    Ok(())
}

#[test]
fn a_lora_is_merged_into_a_file_and_taken_out_of_it() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let golden = lora_golden("conv")?;
    let lora = file("conv.peft")?;
    let (_, base) = tiny_unet("tiny_conv", &Golden::load("tiny_conv")?, false)?;
    let path = |name: &str| dir.path().join(format!("{name}.safetensors"));
    base.save(&path("base"))?;
    let step = |from: &str, to: &str, scale| {
        let archive = Archive::open(&path(from))?;
        let items = lora.merged(&archive, scale)?;
        write(&path(to), &items, Precision::F32, &BTreeMap::new())
    };
    step("base", "merged", 0.5)?;
    let merged = Archive::open(&path("merged"))?;
    for (module, weight) in golden.below("fused.") {
        let ours = merged.values(&format!("{module}.weight"))?;
        let ours = Tensor::from_vec(ours, weight.dims(), &Device::Cpu)?;
        assert_close(&format!("fused {module}"), &ours, &weight, 1e-6);
    }
    step("merged", "back", -0.5)?;
    let back = Archive::open(&path("back"))?;
    for (name, before) in base.tensors_sorted()? {
        let after = Tensor::from_vec(back.values(&name)?, before.dims(), &Device::Cpu)?;
        assert!(relative(&after, &before)? <= 2e-7, "{name}");
    }
    let (_, other) = tiny_unet("tiny_linear", &Golden::load("tiny_linear")?, false)?;
    other.save(&path("base"))?;
    let message = step("base", "wrong", 1.0).unwrap_err().to_string();
    assert!(message.contains("belongs to another model"), "{message}");
    assert!(!path("wrong").exists());
    Ok(())
}

#[test]
fn a_new_set_is_the_base_and_starts_as_in_peft() -> Result<()> {
    let golden = Golden::load("tiny_conv")?;
    let (config, base) = tiny_unet("tiny_conv", &golden, false)?;
    let lora = LoraConfig {
        rank: 3,
        alpha: 6.0,
        targets: ["to_q", "proj_in", "conv1"].map(str::to_owned).into(),
        dropout: 0.0,
        init: Default::default(),
    };
    // The ends of the interval, which map to the bounds ±1/√fan_in.
    let mut ends = |_: &str, n: usize| (0..n).map(|i| (i % 2) as f64).collect();
    let adapters = Adapters::new(&base, &lora, &mut ends)?;
    for (name, module) in adapters.modules()? {
        let fan_in: usize = module.a.dims()[1..].iter().product();
        let bound = 1.0 / (fan_in as f64).sqrt();
        for (i, value) in f64s(&module.a)?.into_iter().enumerate() {
            let expected = if i % 2 == 0 { -bound } else { bound };
            assert!(
                (value - expected).abs() < 1e-7,
                "{name}: {value} {expected}"
            );
        }
        assert!(f64s(&module.b)?.iter().all(|b| *b == 0.0));
        assert_eq!(module.alpha, 6.0);
    }
    let forward = |params: &Params| {
        let unet = UNet2DConditionModel::new(&config, &params.root())?;
        unet.forward(&golden.nhwc("x_t")?, &[500.0], &golden.text("hidden")?)
    };
    let adapted = forward(&base.with_adapters(&adapters))?;
    assert_eq!(f64s(&adapted)?, f64s(&forward(&base)?)?);
    Ok(())
}

#[test]
fn dropout_is_a_function_of_its_key() -> Result<()> {
    let golden = Golden::load("tiny_conv")?;
    let (config, base) = tiny_unet("tiny_conv", &golden, false)?;
    let lora = LoraConfig {
        rank: 2,
        alpha: 2.0,
        targets: LoraConfig::ATTENTION.map(str::to_owned).into(),
        dropout: 0.5,
        init: Default::default(),
    };
    let adapters = Adapters::new(&base, &lora, &mut |_, n| vec![0.9; n])?;
    for (key, var) in adapters.params().vars() {
        assert!(key.is_empty(), "nothing was asked for yet: {key} {var:?}");
    }
    let unet = UNet2DConditionModel::new(&config, &base.with_adapters(&adapters).root())?;
    for (key, var) in adapters.params().vars() {
        if key.ends_with("lora_B.weight") {
            var.set(&var.ones_like()?)?;
        }
    }
    let forward = |key| {
        adapters.set_dropout_key(key);
        f64s(&unet.forward(&golden.nhwc("x_t")?, &[500.0], &golden.text("hidden")?)?)
    };
    let plain = forward(None)?;
    let first = forward(Some(1))?;
    assert_eq!(first, forward(Some(1))?, "the same key, the same mask");
    assert_ne!(first, forward(Some(2))?);
    assert_ne!(first, plain);
    assert_eq!(plain, forward(None)?);
    Ok(())
}
