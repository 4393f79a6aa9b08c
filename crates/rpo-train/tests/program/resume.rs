//! A run that is killed at random moments and resumed ends with the same bytes as an uninterrupted one.
//!
//! `RPO_KILLS=10` makes ten times as many kills, of other moments.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn start(out: &Path, sets: &[&str]) -> Child {
    let experiments = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments");
    Command::new(env!("CARGO_BIN_EXE_rpo-train"))
        .arg(experiments.join("ablation_lambda.toml"))
        .arg("--with")
        .arg(experiments.join("sizes/smoke.toml"))
        .args(["--set", "subjects.count=1", "--set", "training.steps=6"])
        .args(sets.iter().flat_map(|set| ["--set", *set]))
        .arg("--set")
        .arg(format!("output=\"{}\"", out.display()))
        .arg("--out")
        .arg(out.join("run"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts")
}

fn results(out: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    crate::results::results(&out.join("run"), &[])
}

#[test]
fn kills_at_random_moments_change_no_bit() {
    kill(10, &[], "diffusion_pytorch_model.safetensors");
}

#[test]
fn nor_do_they_with_adapters_and_dropout() {
    let sets = [
        "lora.rank=2",
        "lora.dropout=0.2",
        "training.save_minutes=0.001",
        "training.learning_rate=1e-3",
        "training.lr_scheduler=\"cosine\"",
        "training.lr_warmup_steps=2",
        "recipe.flip=true",
        "recipe.min_snr_gamma=5",
    ];
    kill(4, &sets, "pytorch_lora_weights.safetensors");
}

#[test]
fn nor_with_keys_and_values_alone() {
    let sets = [
        "train.parts=[\"cross_attention\"]",
        "training.learning_rate=1e-3",
    ];
    kill(2, &sets, "pytorch_custom_diffusion_weights.safetensors");
}

#[test]
fn nor_with_a_word_and_then_adapters() {
    let sets = [
        "train.parts=[\"token\", \"lora\"]",
        "train.phases={ token = [0.0, 0.6], lora = [0.4, 1.0] }",
        "token.vectors=2",
        "token.keep_norm=true",
        "training.save_minutes=0.001",
        "training.learning_rate=1e-3",
    ];
    kill(2, &sets, "learned_embeds.safetensors");
}

#[test]
fn nor_with_an_image_adapter() {
    let sets = [
        "recipe.preset=\"disenbooth\"",
        "recipe.flip=true",
        "training.save_minutes=0.001",
        "training.learning_rate=1e-3",
    ];
    kill(2, &sets, "image_adapter.safetensors");
}

#[test]
fn nor_with_a_text_encoder() {
    let sets = [
        "train.parts=[\"text_encoder\", \"cross_attention\"]",
        "training.save_minutes=0.001",
        "training.learning_rate=1e-3",
    ];
    kill(2, &sets, "text_encoder/model.safetensors");
}

#[test]
fn nor_with_rounds_words_guidance_and_averages_at_once() {
    let sets = [
        "recipe.preset=dreambooth_dpo",
        "recipe.class_pictures=2",
        "recipe.rounds_from=0.3",
        "recipe.angle=[0, 90]",
        "recipe.reward_guidance=3",
        "train.parts=[\"lora\", \"token\"]",
        "lora.rank=2",
        "candidates={ scale = [0.5], ema = 0.9 }",
        "training.save_minutes=0.001",
        "training.learning_rate=1e-2",
    ];
    kill(2, &sets, "pytorch_lora_weights.safetensors");
}

#[test]
fn nor_with_scales_and_averages_to_choose_from() {
    let sets = [
        "train.parts=[\"lora\", \"token\"]",
        "lora.rank=2",
        "candidates={ scale = [0.5], ema = 0.9 }",
        "training.save_minutes=0.001",
        "training.learning_rate=1e-2",
    ];
    kill(2, &sets, "pytorch_lora_weights.safetensors");
}

#[test]
fn nor_with_reward_guidance() {
    let sets = [
        "recipe.preset=\"dco\"",
        "lora.rank=2",
        "training.save_minutes=0.001",
        "training.learning_rate=1e-3",
    ];
    kill(2, &sets, "learned_embeds.safetensors");
}

/// Rounds of preferences: the frozen model of a round comes back with the state, its pictures from the cache.
#[test]
fn nor_within_rounds() {
    let sets = [
        "recipe.preset=\"dreambooth_dpo\"",
        "recipe.class_pictures=2",
        "recipe.negative_prompts=3",
        "recipe.angle=[0, 90]",
        "recipe.rounds_from=0.3",
        "training.save_minutes=0.001",
        "training.learning_rate=1e-4",
    ];
    kill(4, &sets, "diffusion_pytorch_model.safetensors");
}

/// As before, with adapters, one round from the first step on, and no cache after a kill: its pictures are drawn again.
#[test]
fn nor_within_rounds_whose_pictures_are_lost() {
    let sets = [
        "recipe.preset=\"dreambooth_dpo\"",
        "recipe.prior_weight=0",
        "recipe.negative_prompts=2",
        "recipe.angle=[0, 90]",
        "recipe.rounds=1",
        "recipe.rounds_from=0",
        "lora.rank=2",
        "lora.dropout=0.2",
        "training.save_minutes=0.0001",
        "training.learning_rate=1e-3",
    ];
    kill_and(3, &sets, "pytorch_lora_weights.safetensors", |out| {
        std::fs::remove_dir_all(out.join("cache")).unwrap_or_default();
    });
}

/// Kills runs `most` times in total, over as many runs as needed, and compares every one that ends; `weights` are the names of
/// files that must be among the results.
fn kill(most: usize, sets: &[&str], weights: &str) {
    kill_and(most, sets, weights, |_| {});
}

/// As [`kill`], with something done to the run's parent folder after every kill.
fn kill_and(most: usize, sets: &[&str], weights: &str, after: impl Fn(&Path)) {
    let folder = tempfile::tempdir().expect("a folder");
    let alone = folder.path().join("alone");
    let begin = Instant::now();
    assert!(start(&alone, sets).wait().expect("it runs").success());
    let duration = begin.elapsed();
    let expected = results(&alone);
    let weights = expected.keys().filter(|p| p.ends_with(weights));
    assert!(weights.count() > 0 && expected.keys().any(|p| p.ends_with("metrics.jsonl")));

    let times = std::env::var("RPO_KILLS").map_or(1, |times| times.parse().expect("a number"));
    let most = most * times;
    let mut rng = rpo_data::random::stream(6 + times as u64, "kills", &[]);
    let (mut kills, mut run) = (0, 0);
    let mut out = folder.path().join("killed-0");
    while kills < most {
        let mut child = start(&out, sets);
        let until = Instant::now() + duration.mul_f64(rpo_data::random::unit(&mut rng));
        let finished = loop {
            if let Some(status) = child.try_wait().expect("a child") {
                assert!(status.success(), "it failed after {kills} kills: {status}");
                break true;
            }
            if Instant::now() > until {
                break false;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        if finished {
            compare(&expected, &results(&out), kills);
            run += 1;
            out = folder.path().join(format!("killed-{run}"));
        } else {
            // SIGKILL: nothing is flushed, no handler runs.
            child.kill().expect("it can be killed");
            child.wait().expect("it is gone");
            after(&out);
            kills += 1;
        }
    }
    assert!(start(&out, sets).wait().expect("it runs").success());
    compare(&expected, &results(&out), kills);
}

fn compare(
    expected: &BTreeMap<PathBuf, Vec<u8>>,
    found: &BTreeMap<PathBuf, Vec<u8>>,
    kills: usize,
) {
    let names = |m: &BTreeMap<PathBuf, Vec<u8>>| m.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(expected), names(found), "after {kills} kills");
    for (path, bytes) in expected {
        assert!(
            found[path] == *bytes,
            "{} differs after {kills} kills",
            path.display()
        );
    }
}
