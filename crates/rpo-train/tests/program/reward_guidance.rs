//! Reward guidance: what the base reads of a prompt, which pictures are drawn with it, and how `generate` takes it.

use crate::home::{Home, SMALL, png_texts, pngs};
use rpo_diffusion::custom_diffusion::is_key_or_value;
use rpo_diffusion::{Conditioning, Guided, RewardGuidance, Word, sample_guided};
use rpo_nn::weights::Params;
use rpo_train::progress::Progress;
use rpo_train::runner::checkpoint;
use rpo_train::runner::draw::Request;
use rpo_train::runner::network::{Network, Reward};
use rpo_train::runner::setup::Setup;
use std::fs;
use std::path::{Path, PathBuf};

/// Three different networks and texts, so that none can be taken for another.
#[test]
fn the_base_reads_prompts_without_the_token_and_nothing_that_was_trained() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.toml");
    let output = folder.path().join("runs");
    let text = format!("output = {output:?}\n[subjects]\ncount = 1\n[sampler]\nsteps = 4\n");
    fs::write(&file, text).unwrap();
    let (experiment, layers) = rpo_experiment::read(&file, &[], &[]).unwrap();
    let setup = Setup::load(experiment, &layers).unwrap();
    let own = setup.pipeline.texts();
    let rows = own.mean_rows("a red ball").unwrap();
    let word = Word {
        token: "[v]".into(),
        rows,
    };
    let reading = own.with_words(&[word]).unwrap();
    let tensors = setup.pipeline.unet_params.tensors_sorted().unwrap();
    let tensors = tensors.into_iter().map(|(name, tensor)| {
        let factor = if is_key_or_value(&name) { 1.5 } else { 1.0 };
        (name, (tensor * factor).unwrap())
    });
    let trained = Params::from_tensors(tensors, "trained", false).unwrap();
    let unet = || setup.pipeline.unet(&trained).unwrap();
    let base = || setup.pipeline.unet(&setup.pipeline.unet_params).unwrap();
    let network = Network {
        unet: unet(),
        texts: Some(reading.clone()),
        weights: "trained".into(),
        reward: Some(Reward {
            scale: 2.0,
            base: base(),
            texts: None,
            weights: "base".into(),
            token: "[v]".into(),
        }),
    };
    let prompts = ["a [v] lion in the snow", "a lion", "a photo of [V]"];
    let plain = ["a lion in the snow", "a lion", "a photo of"];
    let request = |prompt: &str| Request {
        prompt: prompt.into(),
        seed: 3,
        purpose: "test",
        names: vec![prompt.into()],
    };
    let requests = prompts.map(request);
    let mut drawer = setup.drawer();
    let mut draw = |negative: Option<&str>| {
        drawer.negative = negative.map(str::to_owned);
        let mut progress = Progress::new(1.0);
        drawer
            .draw(&network, &requests, &mut progress, "test")
            .unwrap()
    };
    let size = setup.size as usize;
    let encode = |texts: &rpo_diffusion::Texts, prompts: &[&str]| -> Conditioning {
        texts.encode(prompts, size).unwrap()
    };
    for negative in [None, Some("blurry")] {
        let by_hand = {
            let (cond, plain) = (encode(&reading, &prompts), encode(own, &plain));
            let uncond = encode(own, &[negative.unwrap_or("")]);
            let (unet, base) = (unet(), base());
            let guided = Guided {
                unet: &unet,
                cond: &cond,
                uncond: &uncond,
                reward: Some(RewardGuidance {
                    scale: 2.0,
                    base: &base,
                    plain: &plain,
                }),
            };
            let side = size / setup.pipeline.vae_config.factor();
            let channels = setup.pipeline.vae_config.latent_channels;
            let noise = requests.iter().flat_map(|request| {
                let names: Vec<&str> = request.names.iter().map(String::as_str).collect();
                let mut stream = rpo_data::random::stream(request.seed, "test", &names);
                rpo_data::random::normal(&mut stream, side * side * channels)
            });
            let latents = candle_core::Tensor::from_vec(
                noise.collect::<Vec<f32>>(),
                (prompts.len(), side, side, channels),
                &candle_core::Device::Cpu,
            );
            let config = rpo_train::runner::settings::sampler(&setup.experiment.sampler);
            let latents = sample_guided(
                &guided,
                &setup.pipeline.schedule,
                &config,
                &latents.unwrap(),
                &mut |_, _| Vec::new(),
                &mut |_| {},
            );
            setup.pipeline.decode(&latents.unwrap(), 4).unwrap()
        };
        assert!(draw(negative) == by_hand, "{negative:?}");
    }
}

/// The folder of the only subject of an arm of the run `run`.
fn of_arm(home: &Home, arm: &str) -> PathBuf {
    let subjects = fs::read_dir(home.path(&format!("run/trajectories/{arm}"))).unwrap();
    subjects.flatten().next().unwrap().path().join("seed-0")
}

fn picture(path: PathBuf) -> image::RgbImage {
    image::open(path).unwrap().to_rgb8()
}

/// A run of three arms with one method: drawn plainly, and with w_r by the recipe, and by the preset.
#[test]
fn a_run_draws_with_it_and_generate_as_the_run() {
    let home = Home::new();
    let text = r#"name = "led"
[subjects]
count = 1
captions = true
[rules]
lambda = [0.5]
last = true
[training]
learning_rate = 1e-2
[recipe]
preset = "dco"
validation_prompts = "validation"
[[arm]]
name = "plain"
lora = { rank = 2 }
recipe = { reward_guidance = "none" }
[[arm]]
name = "led"
lora = { rank = 2 }
"#;
    fs::write(home.path("led.toml"), text).unwrap();
    let one = ["led.toml", "--out", "run", "--set", "subjects.count=1"];
    home.succeeds(&[&one[..], &SMALL].concat());
    // Arms that draw the base differently are not said to draw with one network.
    let table = home.succeeds(&["report", "run"]);
    assert!(!table.contains("the figures differ"), "{table}");
    let trained = |arm: &str| {
        let place = of_arm(&home, arm).join("lora/step-000002/diffusers");
        let file = place.join("pytorch_lora_weights.safetensors");
        let tensors = Params::open(&file, false)
            .unwrap()
            .tensors_sorted()
            .unwrap();
        let values = |t: &candle_core::Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let all: Vec<f32> = tensors.iter().flat_map(|(_, t)| values(t)).collect();
        assert!(all.len() > 1000);
        all
    };
    assert!(trained("plain") == trained("led"), "it is of drawing alone");
    for shown in [
        "validation/step-000000",
        "test/step-000000",
        "test/step-000002",
    ] {
        let of = |arm: &str| {
            let folder = of_arm(&home, arm).join("samples").join(shown);
            picture(folder.join("prompt-00-0.png"))
        };
        assert_ne!(of("plain"), of("led"), "{shown}");
    }
    let subject = of_arm(&home, "led");
    let subject = subject.parent().unwrap().file_name().unwrap();
    let subject = subject.to_string_lossy().into_owned();
    let draw = |arm: &str, out: &str, more: &[&str]| {
        let trajectory = format!("{arm}/{subject}/seed-0");
        let common = ["generate", "run", "--trajectory", &trajectory, "-n", "1"];
        home.succeeds(&[&common[..], more, &["--step", "2", "--out", out]].concat());
        let path = home.path(out).join(&pngs(&home.path(out))[0]);
        (picture(path.clone()), png_texts(&path))
    };
    let (led, texts) = draw("led", "a", &[]);
    assert!(
        texts[0]
            .1
            .contains("CFG scale: 3, Reward guidance: 3, Seed")
    );
    let exact: serde_json::Value = serde_json::from_str(&texts[1].1).unwrap();
    assert_eq!(exact["reward_guidance"], 3.0);
    let (plain, texts) = draw("plain", "b", &[]);
    assert!(!texts[0].1.contains("Reward") && !texts[1].1.contains("reward"));
    assert_ne!(led, plain);
    // Both were trained alike, so that what the flag says decides.
    assert_eq!(led, draw("plain", "c", &["--reward-guidance", "3"]).0);
    assert_eq!(plain, draw("led", "d", &["--reward-guidance", "none"]).0);
    assert_ne!(led, draw("led", "e", &["--reward-guidance", "5"]).0);
    for (scale, said) in [
        ("0", "not above 0"),
        ("101", "at most 100"),
        ("nan", "--reward-guidance"),
        ("off", "--reward-guidance"),
    ] {
        let told = home.refuses(&["generate", "run", "--reward-guidance", scale]);
        assert!(told.contains(said), "{scale}: {told}");
    }
    let set = "recipe.reward_guidance=-1";
    let told = home.refuses(&["plan", "led.toml", "--set", set]);
    assert!(
        told.contains("reward_guidance") && told.contains("DCO's paper: 3"),
        "{told}"
    );

    // Three passes for two, of what the trained network draws; nothing is drawn before.
    let costs = fs::read_to_string(home.path("run/costs.csv")).unwrap();
    let mut rows = costs.lines().map(|row| row.split(',').collect::<Vec<_>>());
    let names = rows.next().unwrap();
    let column = names.iter().position(|name| name.contains("forwards"));
    let forwards: Vec<f64> = rows
        .map(|row| row[column.expect("forwards")].parse().unwrap())
        .collect();
    let plan = fs::read_to_string(home.path("run/plan.json")).unwrap();
    let plan: rpo_experiment::plan::Plan = serde_json::from_str(&plan).unwrap();
    let cell = &plan.cells[0];
    let training = 2.0 * plan.step_cost(cell, false);
    let [plain, led] = forwards[..] else {
        panic!("{costs}")
    };
    assert!(plain > training);
    assert_eq!((led - training) / (plain - training), 1.5, "{costs}");
}

/// The network of step 0 is the base on both sides.
#[test]
fn step_0_is_the_base_led_by_itself() {
    let experiments = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments");
    let sets = ["subjects.count=1", "recipe.preset=\"dco\""].map(str::to_owned);
    let smoke = experiments.join("sizes/smoke.toml");
    let file = experiments.join("quickstart.toml");
    let (experiment, layers) = rpo_experiment::read(&file, &[smoke], &sets).unwrap();
    let setup = Setup::load(experiment, &layers).unwrap();
    let cell = &setup.cells[0];
    let network = checkpoint::drawn(&setup, cell, None).unwrap();
    let reward = network.reward.expect("the preset's");
    assert_eq!((reward.scale, &reward.weights), (3.0, &network.weights));
    assert_eq!(reward.token, setup.subjects[cell.subject].token);
    assert!(network.texts.is_none() && reward.texts.is_none());
    // What is drawn before training is not led.
    assert!(checkpoint::network(&setup, None).unwrap().reward.is_none());
}
