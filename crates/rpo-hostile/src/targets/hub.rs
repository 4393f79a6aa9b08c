//! The hub's cache: references, snapshots, and what a snapshot lacks.

use super::made::model;
use crate::case::Case;
use crate::target::{Target, ensure_fault};
use anyhow::{Context, Result, anyhow};
use rpo_train::hub::{Content, Repository, look_up, wanted};

const SNAPSHOT: &str = "models--org--name/snapshots/0123456789abcdef";

/// A model in the cache, without the weights' content.
fn cached() -> Result<Case> {
    let mut case = Case::of("models--org--name/refs/main", "0123456789abcdef");
    for (name, bytes) in model("sd15")?.files {
        let bytes = if name.ends_with(".safetensors") {
            vec![]
        } else {
            bytes
        };
        case = case.with(&format!("{SNAPSHOT}/{name}"), bytes);
    }
    let index = br#"{"metadata": {}, "weight_map": {"a": "diffusion_pytorch_model-00001-of-00001.safetensors"}}"#;
    let unet = format!("{SNAPSHOT}/unet/diffusion_pytorch_model");
    Ok(case
        .with(&format!("{unet}.safetensors.index.json"), *index)
        .with(&format!("{unet}-00001-of-00001.safetensors"), *b""))
}

pub(super) const HUB: Target = Target::new(
    "hub",
    "a repository in the hub's cache",
    || Ok(vec![cached()?]),
    |folder| {
        let repository = Repository::parse("org/name").context("a name")?;
        let snapshot = look_up(folder, &repository, Content::Pipeline, None)
            .map_err(|absence| anyhow!("{absence}"))?;
        let inside = snapshot
            .folder
            .canonicalize()?
            .starts_with(folder.canonicalize()?);
        ensure_fault(inside, || "a snapshot outside the cache".into())?;
        let files: Vec<String> = Case::read(&snapshot.folder)?.files.into_keys().collect();
        let listed = wanted(&files, Content::Pipeline, None);
        ensure_fault(listed.iter().all(|name| files.contains(name)), || {
            "a file that is not there is wanted".into()
        })
    },
);
