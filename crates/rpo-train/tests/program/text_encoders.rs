//! Text encoders are trained: a run, its files, and the same prompts and pictures by every way to read them back.

use crate::checkpoints::{numbers, of_arm, tensors};
use crate::home::{Home, SMALL, png_texts, pngs};
use rpo_diffusion::Pipeline;
use rpo_diffusion::lora::Lora;
use std::fs;
use std::path::Path;

/// A text encoder: all its weights, adapters on it beside the U-Net's, and alone.
#[test]
fn text_encoders_are_trained() {
    let home = Home::new();
    let text = r#"name = "encoders"
[subjects]
count = 1
[rules]
last = true
lambda = []
[training]
learning_rate = 1e-3
[[arm]]
name = "whole"
train = { parts = ["unet", "text_encoder"] }
[[arm]]
name = "adapters"
train = { parts = ["lora", "text_encoder"], rates = { text_encoder = 0.5 } }
lora = { rank = 2 }
text_encoder = { rank = 3, alpha = 6.0, init = "gaussian" }
[[arm]]
name = "alone"
train = { parts = ["text_encoder"] }
text_encoder = { rank = 2 }
[[arm]]
name = "faster"
train = { parts = ["text_encoder"] }
text_encoder = { rank = 2 }
training = { learning_rate = 1e-2 }
"#;
    fs::write(home.path("encoders.toml"), text).unwrap();
    home.succeeds(&[&["encoders.toml", "--out", "run"][..], &SMALL].concat());
    let micro = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/micro");
    let base = tensors(&micro.join("text_encoder/model.safetensors"));
    let base = base.tensors_sorted().unwrap();
    let seed = |arm: &str| {
        let subject = of_arm(&home, arm);
        let subject = subject.parent().unwrap().file_name().unwrap();
        format!("{arm}/{}/seed-0", subject.to_string_lossy())
    };
    for (arm, folder) in [
        ("whole", "unet"),
        ("adapters", "lora"),
        ("alone", "text_encoder"),
    ] {
        let place = of_arm(&home, arm).join(folder).join("step-000002");
        // Exported, a pipeline reads it in place of the base's.
        let trajectory = seed(arm);
        let export = ["export", "run", "--trajectory", &trajectory, "--step", "2"];
        home.succeeds(&[&export[..], &["--to", arm]].concat());
        let exported = tensors(&home.path(arm).join("text_encoder/model.safetensors"));
        let exported = exported.tensors_sorted().unwrap();
        assert_eq!(exported.len(), base.len());
        for ((name, a), (_, b)) in exported.iter().zip(&base) {
            let adapted = ["q_proj", "k_proj", "v_proj", "out_proj"];
            let adapted = adapted
                .iter()
                .any(|m| name.ends_with(&format!("{m}.weight")));
            let moves = arm == "whole" || adapted;
            assert_eq!(numbers(a) != numbers(b), moves, "{arm}: {name}");
        }
        let whole = Pipeline::load(&home.path(arm)).unwrap();
        let own = Pipeline::load(&micro).unwrap();
        let states =
            |p: &Pipeline| numbers(&p.encode_prompts(&["a lion"], 64).unwrap().hidden_states);
        assert_ne!(states(&whole), states(&own));
        // Adapters beside the U-Net's are in their files, anything else in a folder.
        let kept = place.join("text_encoder/model.safetensors");
        assert_eq!(kept.exists(), arm != "adapters");
        if arm != "adapters" {
            let kept = tensors(&kept).tensors_sorted().unwrap();
            for ((name, a), (_, b)) in exported.iter().zip(&kept) {
                assert_eq!(numbers(a), numbers(b), "{name}");
            }
        }
    }
    // So it is in a single file.
    let (trajectory, model) = (seed("whole"), micro.to_str().unwrap());
    let export = ["export", "run", "--trajectory", &trajectory, "--step", "2"];
    home.succeeds(&[&export[..], &["--to", "one.safetensors"]].concat());
    home.succeeds(&[
        "import",
        "one.safetensors",
        "--config-from",
        model,
        "--to",
        "imported",
    ]);
    let states = ["whole", "imported"].map(|folder| {
        let pipeline = Pipeline::load(&home.path(folder)).unwrap();
        numbers(
            &pipeline
                .encode_prompts(&["a lion"], 64)
                .unwrap()
                .hidden_states,
        )
    });
    assert_eq!(states[0], states[1]);

    let place = of_arm(&home, "adapters").join("lora/step-000002");
    assert!(!place.join("text_encoder").exists());
    let main = Lora::read(&place, 2).unwrap();
    let peft = Lora::read(&place.join("diffusers"), 2).unwrap();
    for lora in [&main, &peft] {
        assert_eq!((lora.text.len(), lora.rank()), (1, None));
        let layers = base
            .iter()
            .filter(|(name, _)| name.ends_with("q_proj.weight"));
        assert_eq!(lora.text[0].len(), 4 * layers.count());
        for (name, m) in &lora.text[0] {
            assert_eq!((m.a.dims()[0], m.alpha), (3, 6.0), "{name}");
            assert_eq!(numbers(&m.a), numbers(&main.text[0][name].a));
            assert_eq!(numbers(&m.b), numbers(&main.text[0][name].b));
        }
    }
    assert_eq!(main.metadata["ss_network_dim"], "Dynamic");
    let card = fs::read_to_string(place.join("README.md")).unwrap();
    for part in [
        "strength_clip as strength_model (the text\nencoder is adapted too), and write `",
        "| adapters of the text encoder | rank 3, alpha 6",
    ] {
        assert!(card.contains(part), "{part}: {card}");
    }
    let file = place.join("diffusers/pytorch_lora_weights.safetensors");
    let file = file.to_str().unwrap();
    let place = place.to_str().unwrap();
    let info = home.succeeds(&["lora", "info", place]);
    let modules = main.text[0].len();
    let lines = [
        format!("text_encoder     {modules}"),
        format!("{} out_proj", modules / 4),
    ];
    assert!(lines.iter().all(|line| info.contains(line)), "{info}");

    // Merged into a model they are what is exported, of both parts.
    home.succeeds(&["lora", "merge", place, "--model", model, "--to", "merged"]);
    for part in [
        "text_encoder/model.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
    ] {
        let [merged, exported] = ["merged", "adapters"].map(|folder| {
            let tensors = tensors(&home.path(folder).join(part));
            tensors.tensors_sorted().unwrap()
        });
        for ((name, a), (_, b)) in merged.iter().zip(&exported) {
            assert_eq!(numbers(a), numbers(b), "{name}");
        }
    }
    let unet = micro.join("unet");
    let alone = ["--model", unet.to_str().unwrap(), "--to", "unet"];
    home.succeeds(&[&["lora", "merge", place][..], &alone].concat());
    assert!(!home.path("unet/text_encoder").exists());

    // The checkpoint and its files draw the same, at any scale.
    let trajectory = seed("adapters");
    let draw = |out: &str, more: &[&str]| {
        let from = ["generate", "run", "--trajectory", &trajectory];
        home.succeeds(&[&from[..], more, &["-n", "1", "--out", out]].concat());
        let picture = home.path(out).join(&pngs(&home.path(out))[0]);
        let scaled = more.contains(&"--lora-scale");
        let told = png_texts(&picture)
            .iter()
            .any(|(_, text)| text.contains("Lora scale: 0"));
        assert_eq!(told, scaled, "{:?}", png_texts(&picture));
        image::open(picture).unwrap().to_rgb8()
    };
    let trained = draw("trained", &["--step", "2"]);
    assert_ne!(trained, draw("base", &["--step", "0"]));
    assert_eq!(trained, draw("file", &["--lora", file]));
    let half = draw("half", &["--step", "2", "--lora-scale", "0.5"]);
    assert_eq!(
        half,
        draw("half-file", &["--lora", file, "--lora-scale", "0.5"])
    );
    assert_ne!(half, trained);
    assert_eq!(
        draw("none", &["--lora", file, "--lora-scale", "0"]),
        draw("base", &["--step", "0"])
    );

    // `forward` reads prompts as the adapted encoder does.
    let forward = |out: &str, model: &str, more: &[&str]| {
        let args = [
            "forward", "--model", model, "--part", "text", "--text", "a lion",
        ];
        home.succeeds(&[&args[..], &["--output", out], more].concat());
        let results = tensors(&home.path(out)).tensors_sorted().unwrap();
        let states = results.iter().find(|(n, _)| n == "encoder_hidden_states");
        numbers(&states.unwrap().1)
    };
    let adapted = forward("adapted.safetensors", model, &["--lora", place]);
    let merged = home.path("merged");
    let merged = forward("merged.safetensors", merged.to_str().unwrap(), &[]);
    let own = forward("own.safetensors", model, &[]);
    let far = |a: &[f32], b: &[f32]| {
        let off = a.iter().zip(b).map(|(a, b)| (a - b).abs());
        off.fold(0.0, f32::max)
    };
    assert!(far(&adapted, &merged) < 1e-5 && far(&adapted, &own) > 1e-4);

    // Adapters read from a folder are told apart, or the first one's pictures would be taken for the other's.
    let pictures = ["alone", "faster"].map(|arm| {
        let trajectory = seed(arm);
        let from = [
            "generate",
            "run",
            "--trajectory",
            &trajectory,
            "--step",
            "2",
        ];
        let out = format!("{arm}-pictures");
        home.succeeds(&[&from[..], &["-n", "1", "--out", &out]].concat());
        let out = home.path(&out);
        image::open(out.join(&pngs(&out)[0])).unwrap().to_rgb8()
    });
    assert_ne!(pictures[0], pictures[1]);
}
