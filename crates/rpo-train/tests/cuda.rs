//! A whole run on a GPU against the same on the CPU: negatives, steps, validation. In CI the GPU is an emulated one.
#![cfg(feature = "cuda")]

use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// All numbers of the trajectory's records, in their order.
fn metrics(device: &str, dtype: &str, more: &[&str]) -> Vec<f64> {
    let out = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut command = Command::new(env!("CARGO_BIN_EXE_rpo-train"));
    command.current_dir(root).args([
        "experiments/quickstart.toml",
        "--with",
        "experiments/sizes/smoke.toml",
    ]);
    let output = format!("output={}", out.path().display());
    let device = format!("model.device={device}");
    let dtype = format!("model.dtype={dtype}");
    let sizes = [
        "subjects.count=1",
        "sampler.steps=2",
        "training.steps=2",
        "recipe.negatives_per_prompt=1",
    ];
    for set in [&*output, &device, &dtype].iter().chain(&sizes).chain(more) {
        command.args(["--set", set]);
    }
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    let run = std::fs::read_dir(out.path()).unwrap().flatten();
    let run = run.map(|e| e.path()).find(|p| p.join("run.json").exists());
    let file = run
        .unwrap()
        .join("trajectories/ours/lion/seed-0/metrics.jsonl");
    let text = std::fs::read_to_string(file).unwrap();
    let mut numbers = vec![];
    for line in text.lines() {
        collect(&serde_json::from_str(line).unwrap(), &mut numbers);
    }
    numbers
}

fn collect(value: &Value, into: &mut Vec<f64>) {
    match value {
        Value::Number(n) => into.extend(n.as_f64()),
        Value::Array(all) => all.iter().for_each(|v| collect(v, into)),
        Value::Object(all) => all.values().for_each(|v| collect(v, into)),
        _ => {}
    }
}

#[test]
fn a_run_on_a_gpu_is_that_of_the_cpu() {
    if let Err(e) = rpo_nn::gpu::open(0) {
        eprintln!("skipped: no GPU ({e})");
        return;
    }
    for more in [&[][..], &["lora.rank=4"]] {
        let want = metrics("cpu", "auto", more);
        assert!(want.len() > 10);
        // f32 differs by the order of sums; bf16 rounds every activation to 8 bits.
        for (dtype, bound) in [("f32", 1e-4), ("bf16", 0.02)] {
            let got = metrics("cuda", dtype, more);
            assert_eq!(got.len(), want.len());
            for (got, want) in got.iter().zip(&want) {
                let error = (got - want).abs() / want.abs().max(0.1);
                assert!(error < bound, "{dtype} {more:?}: {got} for {want}");
            }
        }
    }
}
