//! A verb that is given the wrong thing says which verb fits; `micro` is known to all; inputs are not written to.

use super::common::{copy, files, refused, run, succeeds, workspace};
use std::path::Path;
use tempfile::TempDir;

fn name(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn the_embedded_model_has_its_name_everywhere() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (file, back, merged) = (at("m.safetensors"), at("back"), at("merged"));
    succeeds(&["export", "micro", "--to", name(&file)]);
    succeeds(&[
        "import",
        name(&file),
        "--config-from",
        "micro",
        "--to",
        name(&back),
    ]);
    let lora = run().join("trajectories/lora/lion/seed-0/lora/step-000002");
    succeeds(&[
        "lora",
        "merge",
        name(&lora),
        "--model",
        "micro",
        "--to",
        name(&merged),
    ]);
    let out = at("out.safetensors");
    for (model, part) in [("micro", "text"), ("micro/eval_clip", "clip")] {
        succeeds(&[
            "forward",
            "--model",
            model,
            "--part",
            part,
            "--text",
            "a dog",
            "--output",
            name(&out),
        ]);
    }
    refused(
        &["export", "microbe", "--to", name(&at("no"))],
        &["microbe", "no such folder"],
    );
}

#[test]
fn the_verb_that_fits_is_named() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (micro, file, to) = (workspace("assets/micro"), at("m.safetensors"), at("to"));
    succeeds(&["export", name(&micro), "--to", name(&file)]);
    let lora = run().join("trajectories/lora/lion/seed-0/lora/step-000002");
    let unet = micro.join("unet");
    let experiment = at("x.toml");
    std::fs::write(&experiment, "").unwrap();
    let (micro, file, to, unet) = (name(&micro), name(&file), name(&to), name(&unet));
    refused(
        &["export", file, "--to", to],
        &["single-file checkpoint", "rpo-train import"],
    );
    refused(&["export", unet, "--to", to], &["one part"]);
    refused(
        &["export", name(&experiment), "--to", to],
        &["experiment file", "rpo-train run"],
    );
    refused(
        &["import", micro, "--config-from", micro, "--to", to],
        &["a model folder", "rpo-train export"],
    );
    refused(
        &["import", file, "--config-from", file, "--to", to],
        &["a model is a folder", "rpo-train import"],
    );
    refused(
        &["import", "/dev/null", "--config-from", micro, "--to", to],
        &["a device"],
    );
    refused(
        &["generate", micro, "--out", to],
        &["a model folder", "a run folder is asked for"],
    );
    refused(
        &["generate", file, "--out", to],
        &["single-file checkpoint"],
    );
    refused(
        &["lora", "merge", file, "--model", micro, "--to", to],
        &["a LoRA is asked for", "single-file"],
    );
    refused(
        &["lora", "merge", micro, "--model", micro, "--to", to],
        &["a LoRA is asked for", "a model folder"],
    );
    refused(
        &["lora", "merge", name(&lora), "--model", file, "--to", to],
        &["rpo-train import"],
    );
    refused(
        &[
            "lora",
            "merge",
            name(&lora),
            "--model",
            name(run()),
            "--to",
            to,
        ],
        &["a run folder"],
    );
    let forward = [
        "forward", "--model", file, "--part", "text", "--text", "x", "--output", to,
    ];
    refused(&forward, &["single-file checkpoint", "rpo-train import"]);
    assert!(!Path::new(to).exists());
}

#[test]
fn a_model_that_is_read_is_not_written_into() {
    let folder = TempDir::new().unwrap();
    let model = folder.path().join("model");
    copy(&workspace("assets/micro"), &model);
    let before = files(&model);
    let lora = run().join("trajectories/lora/lion/seed-0/lora/step-000002");
    let file = folder.path().join("m.safetensors");
    succeeds(&["export", name(&model), "--to", name(&file)]);
    for to in ["x", "unet/x", "new/deep/x", "../model/x"] {
        let to = model.join(to);
        refused(&["export", name(&model), "--to", name(&to)], &["only read"]);
        let single = to.with_extension("safetensors");
        refused(
            &["export", name(&model), "--to", name(&single)],
            &["only read"],
        );
        refused(
            &[
                "lora",
                "merge",
                name(&lora),
                "--model",
                name(&model),
                "--to",
                name(&to),
            ],
            &["only read"],
        );
        refused(
            &[
                "import",
                name(&file),
                "--config-from",
                name(&model),
                "--to",
                name(&to),
            ],
            &["only read"],
        );
        assert!(files(&model) == before);
        assert!(!model.join("new").exists());
    }
    #[cfg(unix)]
    {
        // Links: to the model, and as targets.
        let other = folder.path().join("other");
        std::os::unix::fs::symlink(&model, &other).unwrap();
        refused(
            &["export", name(&model), "--to", name(&other.join("x"))],
            &["only read"],
        );
        refused(
            &["export", name(&model), "--to", name(&other)],
            &["nothing is overwritten"],
        );
        let dangling = folder.path().join("dangling.safetensors");
        std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
        refused(
            &["export", name(&model), "--to", name(&dangling)],
            &["nothing is overwritten"],
        );
        let hard = folder.path().join("hard.safetensors");
        std::fs::hard_link(model.join("vae/diffusion_pytorch_model.safetensors"), &hard).unwrap();
        refused(
            &["export", name(&model), "--to", name(&hard)],
            &["nothing is overwritten"],
        );
        // A model folder that is itself a link is read.
        let to = folder.path().join("to");
        succeeds(&["export", name(&other), "--to", name(&to)]);
        assert!(files(&model) == before);
    }
}
