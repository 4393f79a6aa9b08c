//! One LoRA in the words of many programs: each is read as the same adapters.

use super::common::{ALPHA, assert_same, golden_modules, lora_golden, saved};
use candle_core::{DType, Device, Result, Tensor};
use rpo_diffusion::lora::{Format, Lora, LoraModule};
use std::collections::BTreeMap;

type Modules = BTreeMap<String, LoraModule>;

fn modules() -> Result<Modules> {
    let (name, alpha) = ALPHA[0];
    golden_modules(&lora_golden(name)?, alpha)
}

/// The keys of A, B and, where the form has it, α.
struct Form {
    what: &'static str,
    module: fn(&str) -> String,
    ends: [&'static str; 2],
    alpha: bool,
    format: Format,
}

const KOHYA: [&str; 2] = ["lora_down.weight", "lora_up.weight"];
const PEFT: [&str; 2] = ["lora_A.weight", "lora_B.weight"];

fn flat(start: &str, module: &str) -> String {
    format!("{start}{}", module.replace('.', "_"))
}

/// The names of tiny_conv's modules in the numbering of the released checkpoints, with one layer in a block.
fn original(module: &str) -> String {
    let places = [
        ("down_blocks.0.resnets.0.", "input_blocks.1.0."),
        ("down_blocks.0.attentions.0.", "input_blocks.1.1."),
        ("down_blocks.0.downsamplers.0.conv", "input_blocks.2.0.op"),
        ("down_blocks.1.resnets.0.", "input_blocks.3.0."),
        ("mid_block.resnets.0.", "middle_block.0."),
        ("mid_block.attentions.0.", "middle_block.1."),
        ("mid_block.resnets.1.", "middle_block.2."),
        ("up_blocks.0.resnets.0.", "output_blocks.0.0."),
        ("up_blocks.0.resnets.1.", "output_blocks.1.0."),
        ("up_blocks.0.upsamplers.0.conv", "output_blocks.1.1.conv"),
        ("up_blocks.1.resnets.0.", "output_blocks.2.0."),
        ("up_blocks.1.attentions.0.", "output_blocks.2.1."),
        ("up_blocks.1.resnets.1.", "output_blocks.3.0."),
        ("up_blocks.1.attentions.1.", "output_blocks.3.1."),
    ];
    let found = places
        .iter()
        .find_map(|(ours, theirs)| Some(format!("{theirs}{}", module.strip_prefix(ours)?)));
    let name = found.unwrap_or_else(|| panic!("{module}"));
    if !name.contains(".0.") && !name.contains("middle_block.2.") {
        return name;
    }
    [
        ("conv1", "in_layers.2"),
        ("conv2", "out_layers.3"),
        ("time_emb_proj", "emb_layers.1"),
        ("conv_shortcut", "skip_connection"),
    ]
    .iter()
    .fold(name, |name, (ours, theirs)| match name.strip_suffix(ours) {
        Some(start) => format!("{start}{theirs}"),
        None => name,
    })
}

const FORMS: [Form; 14] = [
    Form {
        what: "sd-scripts",
        module: |m| flat("lora_unet_", m),
        ends: KOHYA,
        alpha: true,
        format: Format::Kohya,
    },
    Form {
        what: "sd-scripts for SDXL",
        module: |m| flat("lora_unet_", &original(m)),
        ends: KOHYA,
        alpha: true,
        format: Format::Kohya,
    },
    Form {
        what: "LyCORIS alone",
        module: |m| flat("lycoris_", m),
        ends: KOHYA,
        alpha: true,
        format: Format::Kohya,
    },
    Form {
        what: "ComfyUI",
        module: |m| format!("diffusion_model.{}", original(m)),
        ends: KOHYA,
        alpha: true,
        format: Format::Kohya,
    },
    Form {
        what: "ComfyUI with diffusers' numbering",
        module: |m| format!("diffusion_model.{m}"),
        ends: KOHYA,
        alpha: true,
        format: Format::Kohya,
    },
    Form {
        what: "checkpoint",
        module: |m| format!("model.diffusion_model.{}", original(m)),
        ends: PEFT,
        alpha: true,
        format: Format::Peft,
    },
    Form {
        what: "OneTrainer",
        module: |m| format!("unet.{}", original(m)),
        ends: KOHYA,
        alpha: true,
        format: Format::Kohya,
    },
    Form {
        what: "peft with alpha",
        module: |m| format!("unet.{m}"),
        ends: PEFT,
        alpha: true,
        format: Format::Peft,
    },
    Form {
        what: "diffusers",
        module: |m| format!("unet.{m}"),
        ends: PEFT,
        alpha: false,
        format: Format::Peft,
    },
    Form {
        what: "save_lora_adapter",
        module: str::to_owned,
        ends: PEFT,
        alpha: false,
        format: Format::Peft,
    },
    Form {
        what: "an adapter's name",
        module: |m| format!("unet.{m}"),
        ends: ["lora_A.default.weight", "lora_B.default.weight"],
        alpha: false,
        format: Format::Peft,
    },
    Form {
        what: "another adapter's name",
        module: |m| format!("base_model.model.{m}"),
        ends: ["lora_A.my_dog-2.weight", "lora_B.my_dog-2.weight"],
        alpha: false,
        format: Format::Peft,
    },
    Form {
        what: "a wrapped and compiled model",
        module: |m| format!("module.unet.base_model.model._orig_mod.{m}"),
        ends: PEFT,
        alpha: false,
        format: Format::Peft,
    },
    Form {
        what: "diffusers of 2023",
        module: |m| format!("unet.{m}"),
        ends: ["lora.down.weight", "lora.up.weight"],
        alpha: false,
        format: Format::DiffusersScript,
    },
];

fn tensors(form: &Form, modules: &Modules) -> Result<Vec<(String, Tensor)>> {
    let mut all = Vec::new();
    for (name, m) in modules {
        let place = (form.module)(name);
        let [a, b] = form.ends;
        all.push((format!("{place}.{a}"), m.a.clone()));
        all.push((format!("{place}.{b}"), m.b.clone()));
        if form.alpha {
            let alpha = Tensor::new(m.alpha as f32, &Device::Cpu)?;
            all.push((format!("{place}.alpha"), alpha));
        }
    }
    Ok(all)
}

#[test]
fn every_spelling_is_the_same_lora() -> Result<()> {
    let known = modules()?;
    let of_rank = known.iter().map(|(name, m)| {
        let alpha = m.a.dims()[0] as f64;
        (name.clone(), LoraModule { alpha, ..m.clone() })
    });
    let of_rank: Modules = of_rank.collect();
    for form in &FORMS {
        let bytes = saved(tensors(form, &known)?, &[]);
        let read = Lora::from_bytes(&bytes, form.what, 1)?;
        assert_eq!(read.format, form.format, "{}", form.what);
        let expected = if form.alpha { &known } else { &of_rank };
        assert_same(&read.modules, expected, 0.0);
        // Only a file of peft's own without its configuration leaves something to be guessed.
        let wrapped = (form.module)("mid_block.resnets.0.conv1").contains("base_model.");
        assert_eq!(
            read.notes.len(),
            usize::from(wrapped),
            "{}: {:?}",
            form.what,
            read.notes
        );
    }
    Ok(())
}

#[test]
fn text_encoders_and_bundled_embeddings_are_left_out_and_told() -> Result<()> {
    let known = modules()?;
    let mut all = tensors(&FORMS[0], &known)?;
    for key in [
        "bundle_emb.my dog.clip_l",
        "bundle_emb.my dog.clip_g",
        "bundle_emb.\u{1b}[2Jcat.clip_l",
        "lora_te1_text_model_encoder_layers_0_self_attn_q_proj.dora_scale",
        "clip_g.text_model.encoder.layers.0.mlp.fc1.lora_up.weight",
    ] {
        let values = Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?;
        all.push((key.to_owned(), values));
    }
    let read = Lora::from_bytes(&saved(all, &[]), "x", 1)?;
    assert_same(&read.modules, &known, 0.0);
    let [text, embeddings] = read.notes.as_slice() else {
        panic!("{:?}", read.notes)
    };
    assert!(text.starts_with("2 modules of a text encoder"), "{text}");
    assert!(
        embeddings.starts_with(r"2 bundled embeddings (\u{1b}[2Jcat, my dog)"),
        "{embeddings}"
    );
    Ok(())
}

#[test]
fn kernels_of_one_pixel_may_be_matrices() -> Result<()> {
    let name = "mid_block.attentions.0.proj_in";
    let known = modules()?;
    let m = &known[name];
    let (a, b) = (m.a.flatten_from(1)?, m.b.flatten_from(1)?);
    assert_eq!((m.a.rank(), a.rank()), (4, 2));
    for (a, b) in [(&m.a, &b), (&a, &m.b), (&a, &b)] {
        let all = vec![
            (format!("unet.{name}.lora_A.weight"), a.clone()),
            (format!("unet.{name}.lora_B.weight"), b.clone()),
        ];
        let read = Lora::from_bytes(&saved(all, &[]), "x", 1)?;
        let read = &read.modules[name];
        assert_eq!(read.a.dims(), a.dims());
        assert_eq!(read.b.rank(), a.rank());
        assert_eq!(
            read.delta(0.5)?,
            LoraModule {
                alpha: 2.0,
                ..m.clone()
            }
            .delta(0.5)?
        );
    }
    Ok(())
}

/// LyCORIS' Tucker form: the kernel of the composed convolutions, by its definition.
#[test]
fn a_kernel_between_the_matrices_is_multiplied_in() -> Result<()> {
    let name = "mid_block.resnets.0.conv1";
    let numbers = |shape: &[usize]| {
        let n = shape.iter().product::<usize>();
        let values: Vec<f32> = (0..n).map(|i| ((i * 37 + n) % 11) as f32 - 5.0).collect();
        Tensor::from_vec(values, shape, &Device::Cpu)
    };
    let (down, mid, up) = (
        numbers(&[2, 3, 1, 1])?,
        numbers(&[2, 2, 3, 3])?,
        numbers(&[5, 2, 1, 1])?,
    );
    let key = |end: &str| format!("lora_unet_mid_block_resnets_0_conv1.{end}");
    let all = vec![
        (key("lora_down.weight"), down.clone()),
        (key("lora_mid.weight"), mid.clone()),
        (key("lora_up.weight"), up.clone()),
        (key("alpha"), Tensor::new(1f32, &Device::Cpu)?),
    ];
    let read = Lora::from_bytes(&saved(all.clone(), &[]), "x", 1)?;
    let delta = read.modules[name].delta(1.0)?;
    let flat = |t: &Tensor| t.flatten_all()?.to_vec1::<f32>();
    let (d, m, u) = (flat(&down)?, flat(&mid)?, flat(&up)?);
    let mut expected = Vec::new();
    for o in 0..5 {
        for c in 0..3 {
            for k in 0..9 {
                let terms = (0..2).flat_map(|j| (0..2).map(move |i| (j, i)));
                let sum: f32 = terms
                    .map(|(j, i)| u[o * 2 + j] * m[(j * 2 + i) * 9 + k] * d[i * 3 + c])
                    .sum();
                expected.push(sum / 2.0);
            }
        }
    }
    assert_eq!(delta, expected);
    let mut wrong = all;
    wrong[1].1 = numbers(&[2, 3, 3, 3])?;
    let message = Lora::from_bytes(&saved(wrong, &[]), "x", 1)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("lora_mid [2, 3, 3, 3] does not fit"),
        "{message}"
    );
    Ok(())
}
