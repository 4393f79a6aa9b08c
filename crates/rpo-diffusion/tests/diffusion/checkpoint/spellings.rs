//! Files in the spellings of other programs give the same tensors.

use super::common::{micro, parts};
use candle_core::Result;
use rpo_diffusion::checkpoint::{Family, family, to_file, to_folders};
use rpo_nn::weights::{Archive, Item, Precision, pt, write};
use std::collections::BTreeMap;
use tempfile::TempDir;

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// The folders' tensors of a file whose items `change` has changed.
fn read(kind: Family, change: impl Fn(Item<'_>) -> Vec<Item<'_>>) -> Result<Tensors> {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("file.safetensors");
    let (model, names) = micro(kind);
    let items: Vec<Item> = to_file(&names, parts(&model))?
        .into_iter()
        .flat_map(change)
        .collect();
    write(&path, &items, Precision::F32, &pt())?;
    let archive = Archive::open(&path)?;
    assert_eq!(family(&archive)?, kind);
    let mut all = Tensors::new();
    for (part, items) in to_folders(&names, &archive)?.parts {
        for item in items {
            let name = item.name.strip_prefix("text_model.").unwrap_or(&item.name);
            all.insert(
                format!("{part}/{name}"),
                (item.shape.clone(), item.values()?),
            );
        }
    }
    Ok(all)
}

fn renamed(kind: Family, change: impl Fn(&str) -> String) -> Tensors {
    read(kind, |item| {
        let name = change(&item.name);
        vec![item.renamed(name)]
    })
    .unwrap()
}

#[test]
fn names() {
    for (kind, from, to) in [
        (Family::Sd1, ".attn_1.q.", ".attn_1.to_q."),
        (Family::Sd1, ".attn_1.proj_out.", ".attn_1.to_out.0."),
        (Family::Sd1, ".attn_1.v.", ".attn_1.value."),
        (Family::Sd1, "first_stage_model.", "vae."),
        (Family::Sd1, "transformer.text_model.", "transformer."),
        (
            Family::Sd1,
            "transformer.text_model.",
            "transformer.transformer.text_model.",
        ),
        (Family::Sd1, "cond_stage_model.", "conditioner.embedders.0."),
        (
            Family::Sd1,
            "model.diffusion_model.",
            "state_dict.model.diffusion_model._orig_mod.",
        ),
        (Family::Sd2, "cond_stage_model.", "conditioner.embedders.0."),
        (
            Family::Sd2,
            "cond_stage_model.model.transformer.",
            "cond_stage_model.transformer.",
        ),
        (
            Family::Sdxl,
            "embedders.0.transformer.text_model.",
            "embedders.0.transformer.",
        ),
    ] {
        let changed = renamed(kind, |name| name.replace(from, to));
        assert!(changed == renamed(kind, str::to_owned), "{kind:?} {to}");
    }
}

#[test]
fn shapes_of_the_middle_attention() {
    let plain = renamed(Family::Sd1, str::to_owned);
    let attention = |name: &str| name.contains(".attn_1.") && !name.contains("norm");
    for (end, rank) in [(".weight", 2), (".weight", 3), (".bias", 3)] {
        let changed = read(Family::Sd1, |mut item| {
            if attention(&item.name) && item.name.ends_with(end) {
                item.shape.resize(rank, 1);
            }
            vec![item]
        });
        assert!(changed.unwrap() == plain, "{end} {rank}");
    }
}

/// The second encoder in transformers' names: its projection is not transposed, query, key and value are separate.
#[test]
fn open_clip_in_the_folders_names() {
    let head = "conditioner.embedders.1.model.";
    let (model, names) = micro(Family::Sdxl);
    let folder: Vec<(String, Vec<usize>, Vec<f32>)> = parts(&model)
        .into_iter()
        .filter(|(part, _)| *part == "text_encoder_2")
        .flat_map(|(_, items)| items)
        .map(|item| {
            (
                item.name.clone(),
                item.shape.clone(),
                item.values().unwrap(),
            )
        })
        .collect();
    assert_eq!(names.family, Family::Sdxl);
    let first = std::cell::Cell::new(true);
    let changed = read(Family::Sdxl, |item| {
        if !item.name.starts_with(head) {
            return vec![item];
        }
        if !first.replace(false) {
            return vec![];
        }
        let item = |(name, shape, values): &(String, Vec<usize>, Vec<f32>)| {
            let wrapper =
                match name.starts_with("text_projection") || name.starts_with("text_model.") {
                    true => "",
                    false => "text_model.",
                };
            let values = values.clone();
            Item::new(format!("{head}{wrapper}{name}"), shape.clone(), move || {
                Ok(values.clone())
            })
        };
        folder.iter().map(item).collect()
    });
    assert!(changed.unwrap() == renamed(Family::Sdxl, str::to_owned));
}

#[test]
fn two_spellings_of_one_tensor_are_refused() {
    let said = read(Family::Sd1, |item| {
        let twin = (item.name == "model.diffusion_model.out.2.bias").then(|| {
            let values = item.values().unwrap();
            Item::new(
                "state_dict.model.diffusion_model.out.2.bias",
                item.shape.clone(),
                move || Ok(values.clone()),
            )
        });
        [item].into_iter().chain(twin).collect()
    });
    let said = said.unwrap_err().to_string();
    assert!(
        said.contains("two spellings") && said.contains("state_dict."),
        "{said}"
    );
}
