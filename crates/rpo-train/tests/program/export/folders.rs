//! A checkpoint as a diffusers folder.

use super::common::{WHOLE, archived, cache, export, files, kept, refused, run, values, workspace};
use rpo_diffusion::Pipeline;
use rpo_nn::weights::{Archive, Precision};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

#[test]
fn a_folder_has_the_trained_unet_and_the_rest_of_the_base_model() {
    let folder = TempDir::new().unwrap();
    let to = folder.path().join("a/model");
    let said = export(&to, &WHOLE);
    assert!(said.contains(to.to_str().unwrap()));
    let mut written = files(&to);
    let base = files(&workspace("assets/micro"));
    let unet = PathBuf::from("unet/diffusion_pytorch_model.safetensors");
    assert!(written.remove(&unet).unwrap() != base[&unet]);
    let index: serde_json::Value =
        serde_json::from_slice(&written.remove(Path::new("model_index.json")).unwrap()).unwrap();
    let before: serde_json::Value =
        serde_json::from_slice(&base[Path::new("model_index.json")]).unwrap();
    assert_eq!(index, before);
    for (name, bytes) in &written {
        match name.extension().and_then(|e| e.to_str()) {
            // The base's are f16, the trained U-Net is f32: one dtype, the same values.
            Some("safetensors") => {
                let [new, old] = [&to, &workspace("assets/micro")].map(|dir| dir.join(name));
                assert_eq!(Archive::open(&new).unwrap().stored(), Some(Precision::F32));
                assert!(archived(&new) == archived(&old), "{}", name.display());
            }
            _ if name == Path::new("text_encoder/config.json") => {
                let [mut new, mut old] = [bytes, &base[name]]
                    .map(|text| serde_json::from_slice::<serde_json::Value>(text).unwrap());
                assert_eq!(new["dtype"].take(), "float32");
                old["dtype"].take();
                assert_eq!(new, old);
            }
            _ => assert!(base[name] == *bytes, "{}", name.display()),
        }
    }
    // Configurations, tokenizer, weights of VAE and text encoder; not the reward's encoder.
    let expected = base.keys().filter(|n| n.components().count() == 2);
    let parts = ["unet", "vae", "text_encoder", "tokenizer", "scheduler"];
    let expected = expected.filter(|n| parts.iter().any(|p| n.starts_with(p)));
    assert_eq!(written.len() + 1, expected.count());
    let pipeline = Pipeline::load(&to).unwrap();
    assert!(values(&pipeline.unet_params) == archived(&kept("whole")));
    let header = Archive::open(&to.join(&unet)).unwrap();
    assert_eq!(header.metadata()["format"], "pt");
    assert_eq!(header.metadata()["rpo.trajectory"], "whole/lion/seed-0");
    assert_eq!(header.metadata()["rpo.step"], "2");
    assert_eq!(
        std::fs::read_dir(folder.path().join("a")).unwrap().count(),
        1,
        "nothing is left beside it"
    );
}

#[test]
fn nothing_is_overwritten_and_wrong_requests_are_refused() {
    let folder = TempDir::new().unwrap();
    let to = folder.path().join("model");
    let run = run().to_str().unwrap();
    let name = |path: &Path| path.to_str().unwrap().to_owned();
    std::fs::create_dir(&to).unwrap();
    export(&to, &WHOLE);
    let before = files(&to);
    refused(
        &["export", run, "--to", &name(&to)],
        &[&name(&to), "nothing is overwritten"],
    );
    assert!(files(&to) == before);
    let file = folder.path().join("model.safetensors");
    std::fs::write(&file, "mine").unwrap();
    refused(
        &["export", run, "--to", &name(&file)],
        &[&name(&file), "nothing is overwritten"],
    );
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    let other = name(&folder.path().join("other"));
    refused(
        &["export", run, "--to", &other, "--format", "single-file"],
        &["--to", ".safetensors"],
    );
    let single = name(&folder.path().join("other.safetensors"));
    refused(
        &["export", run, "--to", &single, "--format", "diffusers"],
        &["--to"],
    );
    refused(&["export", run, "--to", &single, "--link"], &["--link"]);
    refused(
        &["export", run, "--to", &other, "--step", "1"],
        &["step 1", "not kept"],
    );
    refused(
        &["export", run, "--to", &other, "--trajectory", "x"],
        &["no trajectory `x`", "whole/lion/seed-0"],
    );
    refused(&["export", &other, "--to", &other], &["no such folder"]);
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        2,
        "a refusal leaves nothing behind"
    );
}

#[test]
fn adapters_are_merged_and_step_0_is_the_base() {
    let folder = TempDir::new().unwrap();
    let base = workspace("assets/micro/unet/diffusion_pytorch_model.safetensors");
    let zero = folder.path().join("zero");
    export(&zero, &["--step", "0"]);
    let unet = "unet/diffusion_pytorch_model.safetensors";
    assert!(archived(&zero.join(unet)) == archived(&base));
    let merged = folder.path().join("merged");
    export(
        &merged,
        &["--trajectory", "lora/lion/seed-0", "--step", "2"],
    );
    let (merged, base) = (archived(&merged.join(unet)), archived(&base));
    let changed: Vec<&String> = base.keys().filter(|n| base[*n] != merged[*n]).collect();
    assert!(!changed.is_empty());
    for name in changed {
        assert!(
            ["to_q", "to_k", "to_v", "to_out.0"]
                .iter()
                .any(|t| name.ends_with(&format!("{t}.weight"))),
            "{name}"
        );
    }
}

#[cfg(unix)]
#[test]
fn weights_may_be_linked() {
    use std::os::unix::fs::MetadataExt;
    let folder = TempDir::new().unwrap();
    let to = folder.path().join("model");
    let mut args = WHOLE.to_vec();
    args.extend(["--link", "--dtype", "f16"]);
    export(&to, &args);
    let inode = |path: &Path| std::fs::metadata(path).unwrap().ino();
    let base = cache().join(rpo_train::embedded::folder_name());
    for part in [
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
    ] {
        assert_eq!(inode(&to.join(part)), inode(&base.join(part)), "{part}");
    }
    let config = "vae/config.json";
    assert_ne!(inode(&to.join(config)), inode(&base.join(config)));
    Pipeline::load(&to).unwrap();
}
