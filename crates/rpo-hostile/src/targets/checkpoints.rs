//! Whole models: folders in diffusers layout, and single files.

use super::made::{arg, finite, model, program};
use crate::case::Case;
use crate::target::{Target, ensure_fault};
use anyhow::Result;
use rpo_diffusion::Pipeline;
use std::path::Path;

fn folders() -> Result<Vec<Case>> {
    ["sd15", "sd21", "sdxl"].into_iter().map(model).collect()
}

pub(super) const MODEL: Target = Target {
    memory: 256 << 20,
    ..Target::new(
        "model",
        "a whole model's folder, and a prompt's states",
        folders,
        |folder| {
            let pipeline = Pipeline::load(folder)?;
            let size = pipeline.sample_size;
            let states = pipeline.encode_prompts(&["a [V] dog"], size);
            let states = states.map_err(|e| e.context(folder.display().to_string()))?;
            ensure_fault(finite(&states.hidden_states)?, || {
                "a prompt's states are not finite".into()
            })
        },
    )
};

pub(super) const EXPORT: Target = Target {
    verb: true,
    writes: true,
    memory: 256 << 20,
    ..Target::new(
        "export",
        "`export` of a model's folder as a folder and as a file",
        // Nothing is written into the model's own folder.
        || Ok(folders()?.iter().map(|case| case.within("model")).collect()),
        |folder| {
            let model = arg(folder, "model");
            program(&["export", &model, "--to", &arg(folder, "out")])?;
            program(&[
                "export",
                &model,
                "--to",
                &arg(folder, "out.safetensors"),
                "--dtype",
                "f16",
            ])
        },
    )
};

/// A single file of a small model, with the configurations that it is read with.
fn single(family: &str) -> Result<Case> {
    let case = model(family)?;
    let place = tempfile::tempdir()?;
    case.write(&place.path().join("model"), &Case::default())?;
    let [from, file] = ["model", "one.safetensors"].map(|name| arg(place.path(), name));
    program(&["export", &from, "--to", &file])?;
    let bytes = std::fs::read(&file)?;
    let mut all = Case::of("one.safetensors", bytes);
    for (name, bytes) in case.files {
        if !name.ends_with(".safetensors") {
            all = all.with(&format!("base/{name}"), bytes);
        }
    }
    Ok(all)
}

fn import(folder: &Path) -> Result<()> {
    program(&[
        "import",
        &arg(folder, "one.safetensors"),
        "--config-from",
        &arg(folder, "base"),
        "--to",
        &arg(folder, "out"),
    ])
}

pub(super) const IMPORT: Target = Target {
    verb: true,
    writes: true,
    memory: 256 << 20,
    ..Target::new(
        "import",
        "`import` of a single-file checkpoint",
        || ["sd15", "sd21", "sdxl"].into_iter().map(single).collect(),
        import,
    )
};
