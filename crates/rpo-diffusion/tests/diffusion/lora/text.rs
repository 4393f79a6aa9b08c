//! Adapters of text encoders: what they do, against diffusers and peft.

use super::common::{file, lora_golden, message};
use crate::support::{assert_close, golden_path, relative};
use candle_core::{Device, Result, Tensor};
use rpo_diffusion::Pipeline;
use rpo_diffusion::lora::BaseModel;
use rpo_nn::weights::{Archive, Params, Precision, write};
use std::collections::BTreeMap;

const TEXTS: [&str; 3] = ["a red apple", "two lions in the snow", ""];
const ENCODERS: [&str; 2] = ["text_encoder", "text_encoder_2"];
const FC1: &str = "text_model.encoder.layers.1.mlp.fc1";

/// The golden models, with the number of their text encoders and of the adapted modules in each.
const MODELS: [(&str, usize, usize); 2] = [("sd", 1, 6), ("xl", 2, 9)];

fn weights(model: &str, encoder: &str) -> Result<Archive> {
    let file = format!("text_gradients/{model}/{encoder}/model.safetensors");
    Archive::open(&golden_path(&file))
}

#[test]
fn prompts_are_read_as_by_diffusers() -> Result<()> {
    let golden = lora_golden("texts")?;
    for (model, encoders, modules) in MODELS {
        let pipeline = Pipeline::load(&golden_path(&format!("text_gradients/{model}")))?;
        let lora = file(&format!("{model}.peft"))?;
        assert_eq!(lora.notes, Vec::<String>::new());
        let count = |part: &BTreeMap<_, _>| part.len();
        assert_eq!(
            lora.text.iter().map(count).collect::<Vec<_>>(),
            vec![modules; encoders]
        );
        assert_eq!((lora.rank(), lora.alpha()), (None, None));
        for (i, part) in lora.text.iter().enumerate() {
            let m = &part[FC1];
            assert_eq!((m.a.dims()[0], m.alpha), (3 + i, (4 + i) as f64));
        }
        let own = pipeline.texts().encode(&TEXTS, 64)?;
        let texts = lora.texts(pipeline.texts(), 0.5)?;
        let encoded = texts.encode(&TEXTS, 64)?;
        let hidden = golden.raw(&format!("{model}.hidden"))?;
        assert!(relative(&own.hidden_states, &hidden)? > 0.1);
        assert_close(model, &encoded.hidden_states, &hidden, 1e-5);
        if let Some(added) = &encoded.added {
            assert_close(
                "pooled",
                &added.text_embeds,
                &golden.raw("xl.pooled")?,
                1e-5,
            );
        }
        // A scale of 0 is the base, and so is a LoRA of a U-Net alone.
        let mut none = lora.clone();
        let off = lora.texts(pipeline.texts(), 0.0)?.encode(&TEXTS, 64)?;
        assert!(relative(&off.hidden_states, &own.hidden_states)? < 1e-6);
        none.text.clear();
        let off = none.texts(pipeline.texts(), 1.0)?.encode(&TEXTS, 64)?;
        assert_eq!(relative(&off.hidden_states, &own.hidden_states)?, 0.0);
    }
    Ok(())
}

#[test]
fn weights_are_merged_as_by_diffusers_whatever_their_prefix() -> Result<()> {
    let golden = lora_golden("texts")?;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(format!("{name}.safetensors"));
    for (model, encoders, modules) in MODELS {
        let lora = file(&format!("{model}.peft"))?;
        for (i, encoder) in ENCODERS.iter().enumerate().take(encoders) {
            let base = weights(model, encoder)?;
            let fused = golden.raw(&format!("{model}.{encoder}.layers.1.mlp.fc1"))?;
            for prefix in ["", "text_model."] {
                // Names as transformers 5 and as transformers 4 write them; the projection has no prefix.
                let mut items = base.items();
                for item in &mut items {
                    let bare = item.name.trim_start_matches("text_model.").to_owned();
                    let prefix = if bare.starts_with("text_projection") {
                        ""
                    } else {
                        prefix
                    };
                    item.name = format!("{prefix}{bare}");
                }
                write(&path("base"), &items, Precision::F32, &BTreeMap::new())?;
                let before = Archive::open(&path("base"))?;
                let merged = lora.merged_text(i, &before, 0.5)?;
                write(&path("merged"), &merged, Precision::F32, &BTreeMap::new())?;
                lora.refuse_overflow_text(i, &before, 0.5, 65504.0)?;
                assert!(lora.refuse_overflow_text(i, &before, 1e9, 65504.0).is_err());
                let merged = Archive::open(&path("merged"))?;
                let tensor = |archive: &Archive, name: &str| {
                    let shape = archive.shape(name).unwrap();
                    Tensor::from_vec(archive.values(name)?, shape, &Device::Cpu)
                };
                let name = format!("{prefix}encoder.layers.1.mlp.fc1.weight");
                let what = format!("{model} {encoder} {prefix}");
                assert_close(&what, &tensor(&merged, &name)?, &fused, 1e-6);
                let mut changed = 0;
                for name in before.names() {
                    let off = relative(&tensor(&merged, name)?, &tensor(&before, name)?)?;
                    changed += usize::from(off > 0.0);
                }
                assert_eq!(changed, modules);
                let back = lora.merged_text(i, &merged, -0.5)?;
                write(&path("back"), &back, Precision::F32, &BTreeMap::new())?;
                let back = Archive::open(&path("back"))?;
                for name in before.names() {
                    let off = relative(&tensor(&back, name)?, &tensor(&before, name)?)?;
                    assert!(off <= 2e-7, "{name}: {off:e}");
                }
                // On top of the weights it is the same.
                let params = Params::open(&path("base"), false)?;
                lora.text_encoder(i, &params, 0.5)?;
            }
        }
    }
    Ok(())
}

#[test]
fn a_model_that_it_does_not_fit_is_told() -> Result<()> {
    let pipeline = Pipeline::load(&golden_path("text_gradients/sd"))?;
    let xl = file("xl.peft")?;
    let told = message(&xl.texts(pipeline.texts(), 1.0).err().unwrap());
    assert!(
        told.contains("2 text encoders, the model has 1") && told.contains("stable-diffusion-xl"),
        "{told}"
    );
    // The second encoder's width is another.
    let mut first = xl.clone();
    first.text.remove(0);
    let told = message(&first.texts(pipeline.texts(), 1.0).err().unwrap());
    assert!(told.contains("belongs to another model"), "{told}");
    let archive = weights("sd", "text_encoder")?;
    let told = message(&first.merged_text(0, &archive, 1.0).err().unwrap());
    assert!(told.contains("belongs to another model"), "{told}");
    let told = message(&xl.to_kohya(BaseModel::Sd1, 1).unwrap_err());
    assert!(told.contains("text encoder 2"), "{told}");
    Ok(())
}
