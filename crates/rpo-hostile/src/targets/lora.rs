//! LoRA files in every key format, folders of peft, and the verbs that read them.

use super::made::{arg, file, finite, model, named, program, tensors};
use crate::case::Case;
use crate::target::{Target, ensure_fault};
use anyhow::Result;
use rpo_diffusion::lora::Lora;
use rpo_encoders::folder::open_archive;
use rpo_nn::weights::Precision;

const NAME: &str = "lora.safetensors";

/// The files of other programs in the tree, and one with every kohya key.
fn files() -> Result<Vec<Vec<u8>>> {
    let golden = ["conv.kohya", "conv.peft", "conv.old", "conv.script"];
    let golden = golden.map(|n| {
        file(&format!(
            "crates/rpo-diffusion/tests/golden/lora/{n}.safetensors"
        ))
    });
    let module = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q";
    let names =
        ["lora_down.weight", "lora_up.weight", "alpha"].map(|end| format!("{module}.{end}"));
    let [a, b, alpha] = names.each_ref().map(String::as_str);
    let small = tensors(&[(a, &[2, 8]), (b, &[8, 2]), (alpha, &[])], Precision::F32);
    let peft = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q";
    let names = ["lora_A.weight", "lora_B.weight"].map(|end| format!("{peft}.{end}"));
    let [a, b] = names.each_ref().map(String::as_str);
    let plain = tensors(&[(a, &[2, 8]), (b, &[8, 2])], Precision::F16);
    // With adapters of SDXL's text encoders.
    let te = |n: usize, end: &str| {
        format!("lora_te{n}_text_model_encoder_layers_{n}_self_attn_q_proj.{end}")
    };
    let ends = ["lora_down.weight", "lora_up.weight", "alpha"];
    let texts = [1, 2].map(|n| ends.map(|end| te(n, end)));
    let [a, b, alpha] = texts[0].each_ref().map(String::as_str);
    let [a2, b2, alpha2] = texts[1].each_ref().map(String::as_str);
    let module = "lora_unet_input_blocks_4_1_transformer_blocks_1_attn1_to_q";
    let names = ["lora_down.weight", "lora_up.weight"].map(|end| format!("{module}.{end}"));
    let [down, up] = names.each_ref().map(String::as_str);
    let text = tensors(
        &[
            (down, &[2, 8]),
            (up, &[8, 2]),
            (a, &[2, 4]),
            (b, &[4, 2]),
            (alpha, &[]),
            (a2, &[1, 6]),
            (b2, &[6, 1]),
            (alpha2, &[]),
        ],
        Precision::F32,
    );
    golden.into_iter().chain([small, plain, text]).collect()
}

fn seeds() -> Result<Vec<Case>> {
    Ok(named(NAME, files()?))
}

pub(super) const FILE: Target = Target::new(
    "lora",
    "a LoRA file; written in either format it reads the same",
    seeds,
    |folder| {
        let lora = Lora::read(&folder.join(NAME), 2)?;
        hold(&lora)
    },
);

/// What must hold of a LoRA that was read.
fn hold(lora: &Lora) -> Result<()> {
    for (name, module) in lora.modules.iter().chain(lora.text.iter().flatten()) {
        ensure_fault(finite(&module.a)? && finite(&module.b)?, || {
            format!("module `{name}` is not finite")
        })?;
        // One beyond f32 is refused where it is merged or written.
        ensure_fault(module.alpha.is_finite(), || {
            format!("module `{name}`: alpha {}", module.alpha)
        })?;
    }
    let base = lora.base();
    // Other families have modules that a format cannot name: not written is no fault.
    for bytes in [lora.to_kohya(base, 2), lora.to_peft(None)]
        .into_iter()
        .flatten()
    {
        let again = Lora::from_bytes(&bytes, "again", 2);
        let again =
            again.map_err(|e| crate::wrong(format!("what was written cannot be read: {e}")))?;
        ensure_fault(again.modules.keys().eq(lora.modules.keys()), || {
            "other modules when read again".into()
        })?;
        let texts = |lora: &Lora| {
            let names = lora.text.iter().map(|part| part.keys().cloned().collect());
            names.collect::<Vec<Vec<String>>>()
        };
        ensure_fault(texts(&again) == texts(lora), || {
            "other modules of text encoders when read again".into()
        })?;
        let all = |lora: &'_ Lora| {
            let text = lora.text.iter().flat_map(|part| part.values().cloned());
            let modules: Vec<_> = lora.modules.values().cloned().chain(text).collect();
            modules
        };
        for (old, new) in all(lora).iter().zip(&all(&again)) {
            let near = (old.alpha - new.alpha).abs()
                <= 1e-6 * old.alpha.abs() + f64::from(f32::MIN_POSITIVE);
            ensure_fault(near, || {
                format!("alpha {} is read again as {}", old.alpha, new.alpha)
            })?;
            ensure_fault(
                old.a.dims() == new.a.dims() && old.b.dims() == new.b.dims(),
                || "another shape".into(),
            )?;
        }
    }
    Ok(())
}

pub(super) const FOLDER: Target = Target::new(
    "lora-folder",
    "a folder that peft saved: adapter_config.json and its weights",
    || {
        let config = br#"{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "use_rslora": false, "use_dora": false,
            "target_modules": ["to_q"], "rank_pattern": {}, "alpha_pattern": {"attn1.to_q": 3}, "lora_bias": false,
            "bias": "none", "fan_in_fan_out": false, "modules_to_save": null, "layers_to_transform": null}"#;
        let module = "base_model.model.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q";
        let names = ["lora_A.weight", "lora_B.weight"].map(|end| format!("{module}.{end}"));
        let [a, b] = names.each_ref().map(String::as_str);
        let weights = tensors(&[(a, &[2, 8]), (b, &[8, 2])], Precision::F32)?;
        Ok(vec![
            Case::of("adapter_config.json", *config).with("adapter_model.safetensors", weights),
        ])
    },
    |folder| hold(&Lora::read(folder, 2)?),
);

pub(super) const INFO: Target = Target {
    verb: true,
    ..Target::new("lora-info", "`lora info`", seeds, |folder| {
        program(&["lora", "info", "--full", &arg(folder, NAME)])
    })
};

/// A LoRA of the attention projections of a U-Net.
fn lora_of(unet: &Case) -> Result<Vec<u8>> {
    let place = tempfile::tempdir()?;
    unet.write(place.path(), &Case::default())?;
    let archive = open_archive(place.path(), None)?;
    let targets = archive.names().filter_map(|name| {
        let module = name.strip_suffix(".attn1.to_q.weight")?;
        let &[out, input] = archive.shape(name)? else {
            return None;
        };
        Some((format!("unet.{module}.attn1.to_q"), out, input))
    });
    let named: Vec<(String, [usize; 2])> = targets
        .flat_map(|(module, out, input)| {
            [
                (format!("{module}.lora_A.weight"), [2, input]),
                (format!("{module}.lora_B.weight"), [out, 2]),
            ]
        })
        .collect();
    let shapes: Vec<(&str, &[usize])> = named
        .iter()
        .map(|(name, shape)| (name.as_str(), &shape[..]))
        .collect();
    tensors(&shapes, Precision::F32)
}

pub(super) const MERGE: Target = Target {
    verb: true,
    writes: true,
    ..Target::new(
        "lora-merge",
        "`lora merge` into the U-Net of a small model",
        || {
            let unet = super::made::below(&model("sd15")?, "unet");
            let lora = lora_of(&unet)?;
            Ok(vec![unet.within("unet").with(NAME, lora)])
        },
        |folder| {
            program(&[
                "lora",
                "merge",
                &arg(folder, NAME),
                "--model",
                &arg(folder, "unet"),
                "--to",
                &arg(folder, "merged"),
            ])
        },
    )
};
