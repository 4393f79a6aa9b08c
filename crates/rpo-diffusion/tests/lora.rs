//! LoRA against peft and diffusers: outputs, gradients, merged weights, and the files that programs exchange.
//! Golden values: `scripts/golden/lora.py`.

mod support;

use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Device, Result, Tensor};
use proptest::prelude::*;
use rpo_diffusion::UNet2DConditionModel;
use rpo_diffusion::lora::{
    About, Adapters, BaseModel, Format, Lora, LoraConfig, LoraModule, Numbering, from_kohya,
    to_kohya,
};
use rpo_nn::ops;
use rpo_nn::weights::{Archive, Params, Precision, write};
use serde_json::Value;
use support::{Golden, assert_close, f64s, golden_path, relative, tiny_unet};

/// α of the golden adapters.
const ALPHA: [(&str, f64); 2] = [("conv", 3.0), ("linear", 5.0)];

fn lora_golden(name: &str) -> Result<Golden> {
    Golden::load(&format!("lora/{name}"))
}

/// The golden A and B of a network as modules.
fn golden_modules(golden: &Golden, alpha: f64) -> Result<BTreeMap<String, LoraModule>> {
    let tensors = golden.below("lora.");
    let f32 = |key: String| match tensors.get(&key) {
        Some(t) => t.to_dtype(DType::F32),
        None => candle_core::bail!("no golden {key}"),
    };
    let names = tensors
        .keys()
        .filter_map(|k| k.strip_suffix(".lora_A.weight"));
    names
        .map(|name| {
            let module = LoraModule {
                a: f32(format!("{name}.lora_A.weight"))?,
                b: f32(format!("{name}.lora_B.weight"))?,
                alpha,
            };
            Ok((name.to_owned(), module))
        })
        .collect()
}

/// PyTorch's layout of a tensor that a layer asked for.
fn torch_layout(t: &Tensor) -> Result<Tensor> {
    match t.rank() {
        4 => t.permute((3, 2, 0, 1))?.contiguous(),
        _ => Ok(t.clone()),
    }
}

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
        let grads = rpo_nn::on_pool(|| loss.backward())?;
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
    };
    // The ends of the interval: their images are the bound, ±1/√fan_in.
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

fn file(name: &str) -> Result<Lora> {
    Lora::read(&golden_path(&format!("lora/{name}.safetensors")), 2)
}

fn assert_same(a: &BTreeMap<String, LoraModule>, b: &BTreeMap<String, LoraModule>, tolerance: f64) {
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (name, x) in a {
        let y = &b[name];
        assert_eq!(x.alpha, y.alpha, "{name}");
        for (x, y) in [(&x.a, &y.a), (&x.b, &y.b)] {
            assert_eq!(x.dims(), y.dims(), "{name}");
            assert!(relative(x, y).unwrap() <= tolerance, "{name}");
        }
    }
}

#[test]
fn files_of_other_programs_are_read() -> Result<()> {
    let golden = lora_golden("conv")?;
    let known = golden_modules(&golden, 3.0)?;

    let peft = file("conv.peft")?;
    assert_eq!((peft.format, peft.dtype), (Format::Peft, DType::F16));
    assert_same(&peft.modules, &known, 0.0);
    assert!(peft.left_out().is_none());

    let kohya = file("conv.kohya")?;
    assert_eq!((kohya.format, kohya.dtype), (Format::Kohya, DType::F32));
    assert_same(&kohya.modules, &known, 0.0);
    let said = kohya.left_out().expect("a text encoder's part");
    assert!(
        said.contains("lora_te_text_model_encoder_layers_0_self_attn_q_proj"),
        "{said}"
    );
    assert_eq!(kohya.metadata["ss_network_dim"], "2");

    // The older forms say nothing of α: it is the rank.
    let of_rank = golden_modules(&golden, 2.0)?;
    let script = file("conv.script")?;
    assert_eq!(
        (script.format, script.dtype),
        (Format::DiffusersScript, DType::BF16)
    );
    assert_same(&script.modules, &of_rank, 4e-3);

    let old = file("conv.old")?;
    assert_eq!(old.format, Format::DiffusersProcessor);
    let is_attention = |name: &str| LoraConfig::ATTENTION.iter().any(|t| name.ends_with(t));
    let attention = of_rank.into_iter().filter(|(name, _)| is_attention(name));
    assert_same(&old.modules, &attention.collect(), 0.0);
    Ok(())
}

#[test]
fn what_is_no_plain_lora_is_told() {
    let refusal = |tensors: &[(&str, &[usize])]| {
        let tensors: HashMap<String, Tensor> = tensors
            .iter()
            .map(|(k, shape)| {
                (
                    (*k).to_owned(),
                    Tensor::zeros(*shape, DType::F32, &Device::Cpu).unwrap(),
                )
            })
            .collect();
        let bytes = safetensors::serialize(&tensors, None).unwrap();
        let message = Lora::from_bytes(&bytes, "x.safetensors", 2)
            .unwrap_err()
            .to_string();
        assert!(message.contains("x.safetensors"), "{message}");
        message
    };
    let dora = refusal(&[("lora_unet_mid_block_attentions_0_proj_in.dora_scale", &[4])]);
    assert!(dora.contains("DoRA"), "{dora}");
    let half = refusal(&[("unet.conv_in.lora_A.weight", &[2, 4, 3, 3])]);
    assert!(
        half.contains("conv_in") && half.contains("one of its two"),
        "{half}"
    );
    let uneven = refusal(&[
        ("unet.to_q.lora_A.weight", &[2, 4]),
        ("unet.to_q.lora_B.weight", &[4, 3]),
    ]);
    assert!(
        uneven.contains("[2, 4]") && uneven.contains("[4, 3]"),
        "{uneven}"
    );
    let text = refusal(&[("text_encoder.q_proj.lora_A.weight", &[2, 4])]);
    assert!(text.contains("no LoRA of a U-Net"), "{text}");
    let other = refusal(&[("conv_in.weight", &[2, 4])]);
    assert!(other.contains("conv_in.weight is no key"), "{other}");
    let broken = Lora::from_bytes(b"12345678", "x.safetensors", 2)
        .unwrap_err()
        .to_string();
    assert!(
        broken.contains("not a complete safetensors file (8 bytes)"),
        "{broken}"
    );
}

#[test]
fn a_lora_of_another_model_is_told() -> Result<()> {
    let (_, base) = tiny_unet("tiny_linear", &Golden::load("tiny_linear")?, false)?;
    let message = file("conv.peft")?.adapters(&base).unwrap_err().to_string();
    assert!(message.contains("belongs to another model"), "{message}");
    Ok(())
}

#[test]
fn headers_hold_what_programs_look_for() -> Result<()> {
    let mut lora = file("conv.peft")?;
    lora.metadata.clear();
    lora.describe(&About {
        name: "dog".into(),
        base: BaseModel::Sd1,
        base_name: "stable-diffusion-v1-5".into(),
        resolution: 0,
        trigger: "[v] dog".into(),
        seed: 3,
        learning_rate: 1e-4,
        steps: 120,
        images: 5,
        captions: vec!["a photo of [v] dog".into(); 5],
        rpo: BTreeMap::from([("recipe".into(), "ours".into())]),
    });
    let bytes = lora.to_kohya(BaseModel::Sd1, 2)?;
    assert_eq!(
        bytes,
        lora.to_kohya(BaseModel::Sd1, 2)?,
        "the same bytes again"
    );
    let read = Lora::from_bytes(&bytes, "dog", 2)?;
    assert_same(&read.modules, &lora.modules, 0.0);
    let (length, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let values = bytes.len() - 8 - length;
    assert_eq!(values % 2, 0);
    let keys: Vec<String> = header.tensors().into_keys().collect();
    assert!(
        keys.iter().all(|k| k.starts_with("lora_unet_")),
        "diffusers asks this of all keys"
    );
    let meta = &read.metadata;
    assert!(!meta.contains_key("lora_adapter_metadata"));
    for (key, value) in [
        ("ss_v2", "False"),
        ("ss_base_model_version", "sd_v1"),
        ("ss_network_dim", "2"),
        ("ss_network_alpha", "3"),
        ("ss_network_args", r#"{"conv_alpha":"3","conv_dim":"2"}"#),
        ("ss_output_name", "dog"),
        ("ss_tag_frequency", r#"{"dog":{"a photo of [v] dog":5}}"#),
        ("modelspec.architecture", "stable-diffusion-v1/lora"),
        ("modelspec.resolution", "512x512"),
        ("modelspec.trigger_phrase", "[v] dog"),
        ("rpo.recipe", "ours"),
    ] {
        assert_eq!(meta[key], value, "{key}");
    }
    assert_eq!(
        meta["modelspec.hash_sha256"],
        format!("0x{}", meta["sshs_model_hash"])
    );
    assert_eq!(meta["sshs_model_hash"].len(), 64);

    let peft = Lora::from_bytes(&lora.to_peft(Some(&["to_q".into()]))?, "dog", 2)?;
    let config: Value = serde_json::from_str(&peft.metadata["lora_adapter_metadata"]).unwrap();
    let expected =
        serde_json::json!({"unet.r": 2, "unet.lora_alpha": 3, "unet.target_modules": ["to_q"]});
    assert_eq!(config, expected);
    assert_eq!(peft.metadata["format"], "pt");
    Ok(())
}

fn architectures() -> Value {
    let path = golden_path("lora/keys.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn shapes(architecture: &Value) -> Vec<(String, Vec<usize>)> {
    let all = architecture["shapes"].as_object().unwrap();
    let each = all.iter().map(|(name, shape)| {
        let shape = serde_json::from_value(shape.clone()).unwrap();
        (format!("{name}.weight"), shape)
    });
    each.collect()
}

#[test]
fn the_released_architectures_have_the_known_modules() -> Result<()> {
    let all = architectures();
    let attention = LoraConfig {
        rank: 4,
        alpha: 4.0,
        targets: LoraConfig::ATTENTION.map(str::to_owned).into(),
        dropout: 0.0,
    };
    for (name, modules, layers) in [("sd15", 128, 282), ("sd21", 128, 282)] {
        let architecture = &all[name];
        assert_eq!(architecture["layers"], layers);
        assert_eq!(
            attention.modules(&shapes(architecture))?.len(),
            modules,
            "{name}"
        );
        assert_eq!(architecture["attention"], modules);
    }
    assert_eq!(all["sdxl"]["attention"], 560);
    let projections = LoraConfig {
        targets: vec!["proj_in".into()],
        ..attention
    };
    for (name, dimensions) in [("sd15", 4), ("sd21", 2), ("sdxl", 2)] {
        let shapes = shapes(&all[name]);
        for module in projections.modules(&shapes)? {
            let shape = shapes
                .iter()
                .find(|(n, _)| *n == format!("{module}.weight"));
            assert_eq!(shape.unwrap().1.len(), dimensions, "{name} {module}");
        }
    }
    Ok(())
}

#[test]
fn every_module_of_the_released_architectures_has_a_kohya_key_and_back() -> Result<()> {
    let all = architectures();
    for name in ["sd15", "sd21", "sdxl"] {
        for (module, _) in shapes(&all[name]) {
            let module = module.strip_suffix(".weight").unwrap();
            let key = to_kohya(module, Numbering::Diffusers)?;
            assert_eq!(key, format!("lora_unet_{}", module.replace('.', "_")));
            assert_eq!(from_kohya(&key, 2)?, module);
        }
    }
    let names = all["sdxl"]["kohya"].as_object().unwrap();
    assert_eq!(names.len(), 264);
    let numbering = Numbering::Checkpoint {
        layers_per_block: 2,
    };
    for (module, key) in names {
        assert_eq!(to_kohya(module, numbering)?, key.as_str().unwrap());
        assert_eq!(from_kohya(key.as_str().unwrap(), 2)?, *module);
    }
    assert!(to_kohya("down_blocks.0.resnets.2.conv1", numbering).is_err());
    assert!(from_kohya("lora_unet_input_blocks_4_3_proj_in", 2).is_err());
    Ok(())
}

/// A few modules of a U-Net with some rank, α and seed.
fn arbitrary_lora() -> impl Strategy<Value = Lora> {
    let all = architectures();
    let names: Vec<(String, Vec<usize>)> = all["sdxl"]["shapes"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, shape)| (name.clone(), serde_json::from_value(shape.clone()).unwrap()))
        .collect();
    let modules = proptest::sample::subsequence(names, 1..6);
    let dtype = prop_oneof![Just(DType::F32), Just(DType::F16), Just(DType::BF16)];
    (
        modules,
        1usize..9,
        1u32..65,
        any::<bool>(),
        dtype,
        any::<u32>(),
    )
        .prop_map(|(names, rank, alpha, even, dtype, seed)| {
            let mut state = u64::from(seed);
            // Small whole numbers are exact in every type.
            let mut random = |shape: Vec<usize>| {
                let values: Vec<f32> = (0..shape.iter().product())
                    .map(|_| {
                        state = state
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1);
                        ((state >> 60) as f32) - 8.0
                    })
                    .collect();
                Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
            };
            let mut modules = BTreeMap::new();
            for (i, (name, shape)) in names.into_iter().enumerate() {
                // Widths cut down: only names, dimensions and kernels matter.
                let kernel = &shape[2..];
                let rank = if even { rank } else { rank + i };
                let a = random([&[rank, 3], kernel].concat());
                let b = random([vec![4, rank], vec![1; kernel.len()]].concat());
                let alpha = f64::from(alpha) / 2.0 + if even { 0.0 } else { i as f64 };
                modules.insert(name, LoraModule { a, b, alpha });
            }
            Lora {
                modules,
                metadata: BTreeMap::from([("rpo.seed".into(), seed.to_string())]),
                format: Format::Kohya,
                dtype,
                text_encoder: Vec::new(),
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn files_come_back_as_they_were(lora in arbitrary_lora(), sdxl: bool) {
        let base = if sdxl { BaseModel::Sdxl } else { BaseModel::Sd1 };
        for (bytes, format) in [
            (lora.to_kohya(base, 2).unwrap(), Format::Kohya),
            (lora.to_peft(None).unwrap(), Format::Peft),
        ] {
            let read = Lora::from_bytes(&bytes, "it", 2).unwrap();
            assert_eq!((read.format, read.dtype), (format, lora.dtype));
            assert_same(&read.modules, &lora.modules, 0.0);
            assert_eq!(&read.metadata["rpo.seed"], &lora.metadata["rpo.seed"]);
        }
    }
}
