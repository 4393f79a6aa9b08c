//! Encoders, sampled pictures and a whole run on a GPU against the same on the CPU. In CI the GPU is emulated.
#![cfg(feature = "cuda")]

use candle_core::{DType, Device, Tensor};
use image::{Rgb, RgbImage};
use rpo_data::random;
use rpo_diffusion::{Pipeline, SamplerConfig, Solver, sample};
use rpo_encoders::{dual::DualEncoder, vit::VitEncoder};
use rpo_nn::Place;
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The GPU, if there is one.
fn gpu() -> Option<Place> {
    match rpo_nn::gpu::open(0) {
        Ok(device) => Some(Place::new(device, DType::BF16).unwrap()),
        Err(e) => {
            // Not captured in a passing test: CI counts these lines.
            let _ = writeln!(
                std::io::stderr(),
                "skipped: no GPU ({})",
                e.to_string().lines().next().unwrap_or_default()
            );
            None
        }
    }
}

fn micro(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../assets/micro")
        .join(part)
}

fn close(what: &str, got: impl IntoIterator<Item = f32>, want: impl IntoIterator<Item = f32>) {
    let (got, want): (Vec<f32>, Vec<f32>) = (got.into_iter().collect(), want.into_iter().collect());
    assert_eq!(got.len(), want.len(), "{what}");
    let scale = want.iter().fold(0f32, |m, v| m.max(v.abs()));
    for (got, want) in got.iter().zip(&want) {
        assert!(
            (got - want).abs() < 2e-5 * scale,
            "{what}: {got} for {want}"
        );
    }
}

/// In f32, whatever the dtype of the U-Net's activations.
#[test]
fn encoders_on_a_gpu_are_those_of_the_cpu() {
    let Some(gpu) = gpu() else { return };
    let cpu = Place::default();
    let pictures: Vec<RgbImage> = (0..3u32)
        .map(|i| {
            RgbImage::from_fn(50 + 20 * i, 64, |x, y| {
                Rgb([(x * (i + 1)) as u8, (y * 3) as u8, (x * y) as u8])
            })
        })
        .collect();
    let texts = ["a red ball", "", "a cat on the moon"].map(String::from);
    // An `AlignModel` and a `CLIPModel`.
    for part in ["reward", "eval_clip"] {
        let [got, want] = [&gpu, &cpu].map(|place| DualEncoder::load(&micro(part), place).unwrap());
        let embed = |e: &DualEncoder| {
            (
                e.embed_images(&pictures).unwrap(),
                e.embed_texts(&texts).unwrap(),
            )
        };
        let (got, want) = (embed(&got), embed(&want));
        close(part, got.0, want.0);
        close(part, got.1, want.1);
    }
    let [got, want] = [&gpu, &cpu].map(|place| {
        let vit = VitEncoder::load(&micro("eval_dino"), place).unwrap();
        vit.embed_images(&pictures).unwrap()
    });
    close("eval_dino", got, want);
    let [got, want] = [&gpu, &cpu].map(|place| {
        let pipeline = Pipeline::load(&micro("")).unwrap().at(place).unwrap();
        let states = pipeline.encode_prompts(&texts, 64).unwrap().hidden_states;
        states.flatten_all().unwrap().to_vec1::<f32>().unwrap()
    });
    close("text_encoder", got, want);
}

/// Texts, four passes of the U-Net with guidance, the VAE.
#[test]
fn pictures_of_a_gpu_are_those_of_the_cpu() {
    let Some(gpu) = gpu() else { return };
    let config = SamplerConfig {
        solver: Solver::DpmSolverPp2m,
        eta: 0.0,
        steps: 2,
        guidance: 3.0,
        guidance_interval: None,
        batch: 2,
    };
    let draw = |place: &Place| -> Vec<u8> {
        let pipeline = Pipeline::load(&micro("")).unwrap().at(place).unwrap();
        let [h, w, c] = pipeline.latent_dims();
        let noise = random::normal(&mut random::stream(0, "test", &[]), 2 * h * w * c);
        let pictures = sample(
            &pipeline.unet(&pipeline.unet_params).unwrap(),
            &pipeline.schedule,
            &config,
            &Tensor::from_vec(noise, (2, h, w, c), &Device::Cpu).unwrap(),
            &pipeline.encode_prompts(&["a lion", "a ball"], 64).unwrap(),
            &pipeline.unconditional(64).unwrap(),
            &mut |_, _| Vec::new(),
            &mut |_| {},
        );
        let pictures = pipeline.decode(&pictures.unwrap(), 2).unwrap();
        pictures.iter().flat_map(|p| p.as_raw().clone()).collect()
    };
    let want = draw(&Place::default());
    // In units of 1/255: f32 may round a value the other way, bf16 has 8 bits everywhere.
    for (place, most, mean) in [(gpu.in_f32(), 1, 0.01), (gpu, 60, 2.0)] {
        let got = draw(&place);
        let off: Vec<u8> = got.iter().zip(&want).map(|(a, b)| a.abs_diff(*b)).collect();
        let worst = off.iter().max().unwrap();
        let average = off.iter().map(|d| f64::from(*d)).sum::<f64>() / off.len() as f64;
        println!(
            "{:?}: {worst} at most, {average:.4} on average",
            place.dtype()
        );
        assert!(*worst <= most && average < mean, "{worst} {average}");
    }
}

/// All numbers of the trajectory's records, in order.
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
        // The residual of one picture at a late timestep may be as small as bf16's rounding of the prediction, and the gradient
        // with it; that of several is not.
        "training.batch=4",
        // A step of AdamW turns any rounding of a small gradient into a whole step: at a small rate it stays rounding.
        "training.learning_rate=1e-4",
        "recipe.negatives_per_prompt=1",
        "recipe.negative_prompts=8",
        // Under other texts than these one picture of two solver steps is near a threshold that bf16's rounding crosses.
        "subjects.captions=false",
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

/// Rounding of records, relative to what they are on the CPU: f32 differs by the order of sums; bf16 rounds every activation to 8 bits.
const F32: (&str, f64) = ("f32", 1e-4);
const BF16: (&str, f64) = ("bf16", 0.01);

/// Runs with these keys on the CPU and on the GPU, if there is one.
fn is_that_of_the_cpu(more: &[&str], dtypes: &[(&str, f64)]) {
    if gpu().is_none() {
        return;
    }
    let want = metrics("cpu", "auto", more);
    assert!(want.len() > 10);
    for (dtype, bound) in dtypes {
        let got = metrics("cuda", dtype, more);
        assert_eq!(got.len(), want.len());
        for (got, want) in got.iter().zip(&want) {
            let error = (got - want).abs() / want.abs().max(0.1);
            assert!(error < *bound, "{dtype} {more:?}: {got} for {want}");
        }
    }
}

// Apart, because an emulated GPU computes on one thread.
#[test]
fn a_run_is_that_of_the_cpu() {
    is_that_of_the_cpu(&[], &[F32]);
}

#[test]
fn so_it_is_in_half_precision() {
    is_that_of_the_cpu(&[], &[BF16]);
}

#[test]
fn so_it_is_with_adapters() {
    is_that_of_the_cpu(&["lora.rank=4"], &[BF16]);
}

#[test]
fn so_it_is_with_keys_and_values() {
    is_that_of_the_cpu(&["train.parts=[\"cross_attention\"]"], &[F32]);
}

#[test]
fn so_it_is_with_a_text_encoder() {
    let parts = "train.parts=[\"lora\", \"token\", \"text_encoder\"]";
    is_that_of_the_cpu(&[parts], &[F32]);
}

#[test]
fn so_it_is_with_a_word() {
    is_that_of_the_cpu(&["train.parts=[\"token\"]"], &[F32, BF16]);
}
