//! LoRA from an experiment file to files: a short run, and the verbs on its files.

use rpo_diffusion::lora::{Format, Lora};
use rpo_nn::weights::Params;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rpo-train"))
        .args(args)
        .output()
        .expect("the program starts")
}

/// Succeeds; returns what was printed.
fn good(args: &[&str]) -> String {
    let output = run(args);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Is refused as bad input with all of `parts` in the message.
fn bad(args: &[&str], parts: &[&str]) {
    let output = run(args);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
    for part in parts {
        assert!(error.contains(part), "{args:?}: no {part:?} in: {error}");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

const EXPERIMENT: &str = r#"
name = "lora"
reproduces = "a test"
[subjects]
count = 1
[lora]
rank = 3
alpha = 6.0
[sampler]
steps = 2
[training]
steps = 3
batch = 1
learning_rate = 1e-2
[recipe]
negatives_per_prompt = 1
[validation]
every = 3
prompts = 2
pictures_per_prompt = 1
[rules]
last = true
[test]
prompts = 1
pictures_per_prompt = 1
"#;

/// The folder of the only LoRA that the run kept.
fn kept(run: &Path) -> PathBuf {
    let trajectories = run.join("trajectories/ours");
    let subject = std::fs::read_dir(trajectories).unwrap().flatten().next();
    let seed = subject.unwrap().path().join("seed-0");
    assert!(!seed.join("unet").exists(), "no whole U-Net is kept");
    seed.join("lora/step-000003")
}

#[test]
fn a_run_leaves_loras_that_the_verbs_work_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let micro = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/micro");
    std::fs::write(at("lora.toml"), EXPERIMENT).unwrap();
    let set = format!("output=\"{}\"", folder.path().display());
    let file = at("lora.toml");
    good(&[text(&file), "--set", &set, "--out", text(&at("run"))]);

    let place = kept(&at("run"));
    let main = Lora::read(&place, 2).expect("one LoRA file");
    let peft = Lora::read(&place.join("diffusers"), 2).expect("one LoRA file");
    assert_eq!((main.format, peft.format), (Format::Kohya, Format::Peft));
    assert_eq!((main.rank(), main.alpha()), (Some(3), Some(6.0)));
    same(&main, &peft);
    assert_eq!(main.metadata["rpo.step"], "3");
    let trigger = &main.metadata["modelspec.trigger_phrase"];
    let card = std::fs::read_to_string(place.join("README.md")).unwrap();
    assert!(
        card.contains("by Reward\nPreference Optimization"),
        "{card}"
    );
    assert!(
        card.contains(trigger) && card.contains("rank 3, alpha 6"),
        "{card}"
    );
    assert!(
        card.starts_with("---\n") && !card.contains("base_model:"),
        "micro is no repository"
    );
    let typed = trigger.replace('[', "\\[").replace(']', "\\]");
    assert!(
        typed != *trigger && card.contains(&format!("and `{typed}` in the prompt")),
        "{card}"
    );
    image::open(place.join("preview.png")).expect("a preview");

    let info = good(&["lora", "info", text(&place)]);
    assert!(
        info.contains("rank       3") && info.contains("to_out.0"),
        "{info}"
    );

    // Merged into the model and removed again.
    let merge = |verb: &str, from: &Path, to: &Path| {
        let lora = place.join("diffusers");
        let args = [
            "lora",
            verb,
            text(&lora),
            "--model",
            text(from),
            "--to",
            text(to),
        ];
        good(&[&args[..], &["--scale", "0.8"]].concat())
    };
    merge("merge", &micro, &at("merged"));
    merge("unmerge", &at("merged"), &at("back"));
    let weights = |model: &Path| {
        let path = model.join("unet/diffusion_pytorch_model.safetensors");
        Params::open(&path, false)
            .unwrap()
            .tensors_sorted()
            .unwrap()
    };
    let (before, merged, back) = (
        weights(&micro),
        weights(&at("merged")),
        weights(&at("back")),
    );
    let mut changed = 0;
    for (((name, before), (_, merged)), (_, back)) in before.iter().zip(&merged).zip(&back) {
        let far = |a: &candle_core::Tensor| {
            let off = (a - before).unwrap().abs().unwrap().flatten_all().unwrap();
            off.max(0).unwrap().to_scalar::<f32>().unwrap()
        };
        changed += usize::from(far(merged) > 0.0);
        assert!(far(back) <= 1e-6, "{name}: {}", far(back));
    }
    assert_eq!(changed, main.modules.len());
    assert!(
        at("merged/text_encoder/model.safetensors").exists(),
        "the rest is there too"
    );
    bad(
        &[
            "lora",
            "merge",
            text(&place),
            "--model",
            text(&micro),
            "--to",
            text(&at("merged")),
        ],
        &["merged: there is something already"],
    );

    // From one format to the other and back.
    let convert = |from: &Path, to: &Path, format: &str| {
        good(&[
            "lora",
            "convert",
            text(from),
            "--to",
            text(to),
            "--format",
            format,
        ])
    };
    let (a, b) = (at("a.safetensors"), at("b.safetensors"));
    convert(&place, &a, "peft");
    convert(&a, &b, "kohya");
    let again = Lora::read(&b, 2).unwrap();
    same(&again, &main);
    assert_eq!(
        again.metadata["sshs_model_hash"],
        main.metadata["sshs_model_hash"]
    );

    // The checkpoint and its file draw the same pictures; at scale 0 the file draws the base model's.
    let draw = |out: &str, more: &[&str]| {
        let out = at(out);
        let run = at("run");
        let args = ["generate", text(&run), "-n", "1", "--out", text(&out)];
        good(&[&args[..], more].concat());
        let entries = std::fs::read_dir(&out).unwrap().flatten();
        let paths = entries.map(|entry| entry.path());
        let first = paths.min_by_key(|path| path.as_os_str().len()).unwrap();
        // Files also say how they were drawn.
        image::open(first).unwrap().to_rgb8()
    };
    let checkpoint = draw("checkpoint", &["--step", "3"]);
    let base = draw("base", &["--step", "0"]);
    assert_eq!(draw("file", &["--lora", text(&b)]), checkpoint);
    assert_eq!(
        draw("zero", &["--lora", text(&b), "--lora-scale", "0"]),
        base
    );
    assert_ne!(checkpoint, base);
    // Drawing the same again changes nothing; another picture has a name of its own.
    assert_eq!(draw("file", &["--lora", text(&b)]), checkpoint);
    let files = || std::fs::read_dir(at("file")).unwrap().count();
    assert_eq!(files(), 1);
    draw("file", &["--lora", text(&b), "--guidance", "2"]);
    assert_eq!(files(), 2);
    assert_eq!(draw("file", &["--lora", text(&b)]), checkpoint);
}

fn same(a: &Lora, b: &Lora) {
    assert_eq!(
        a.modules.keys().collect::<Vec<_>>(),
        b.modules.keys().collect::<Vec<_>>()
    );
    let values = |t: &candle_core::Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    for (name, x) in &a.modules {
        let y = &b.modules[name];
        assert_eq!(x.alpha, y.alpha, "{name}");
        assert_eq!(values(&x.a), values(&y.a), "{name}");
        assert_eq!(values(&x.b), values(&y.b), "{name}");
    }
}

#[test]
fn wrong_keys_are_told_with_their_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("x.toml");
    let check = |lora: &str, parts: &[&str]| {
        std::fs::write(&file, format!("name = \"x\"\n{lora}\n")).unwrap();
        bad(&["check", text(&file)], parts);
    };
    check(
        "[lora]\nrank = 0",
        &["x.toml:3", "`lora.rank`", "1 or more"],
    );
    check("[lora]\nalpha = -1.0", &["x.toml:3", "`lora.alpha`"]);
    check("[lora]\ndropout = 1.0", &["x.toml:3", "`lora.dropout`"]);
    check(
        "[lora]\ntargets = [\"to_qq\"]",
        &["x.toml:3", "`to_qq`", "near it", "`to_q`"],
    );
    check(
        "[[arm]]\nname = \"a\"\nlora = { rank = 4, targets = [\"norm1\"] }",
        &["x.toml:4", "norm1", "no linear layer"],
    );
    check(
        "[[arm]]\nname = \"a\"\nlora = { ranks = 4 }",
        &["x.toml:4", "did you mean `rank`?"],
    );
    std::fs::write(folder.path().join("not.safetensors"), "nothing").unwrap();
    bad(
        &["lora", "info", text(&folder.path().join("not.safetensors"))],
        &["not.safetensors", "not a complete safetensors file"],
    );
}

#[test]
fn foreign_text_does_not_act_on_the_terminal_and_scales_are_finite() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("x.safetensors");
    let entry = |name: &str, shape: &str, from: usize, to: usize| {
        format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{from},{to}]}}"#)
    };
    let write = |metadata: &str, name: &str| {
        let (down, up) = (
            format!("{name}.lora_down.weight"),
            format!("{name}.lora_up.weight"),
        );
        let entries = [
            format!(r#""__metadata__":{metadata}"#),
            entry(&down, "[1,2]", 0, 8),
            entry(&up, "[2,1]", 8, 16),
        ];
        let header = format!("{{{}}}", entries.join(","));
        let bytes = [
            &(header.len() as u64).to_le_bytes(),
            header.as_bytes(),
            &[0; 16],
        ]
        .concat();
        std::fs::write(&file, bytes).unwrap();
    };
    let acts =
        |text: &str| text.contains(|c: char| c != '\n' && (c.is_control() || c == '\u{202e}'));
    let name = "lora_unet_mid_block_attentions_0_proj_in";
    write(r#"{"a\u001b[2J":"\u001b]0;t\u0007\n\u202ex","n":4}"#, name);
    let info = run(&["lora", "info", text(&file), "--full"]);
    let (out, error) = (
        String::from_utf8_lossy(&info.stdout),
        String::from_utf8_lossy(&info.stderr),
    );
    assert!(info.status.success(), "{error}");
    assert!(!acts(&out) && !acts(&error), "{out:?} {error:?}");
    assert!(
        out.contains(r"a\u{1b}[2J = \u{1b}]0;t\u{7}\u{a}\u{202e}x"),
        "{out}"
    );
    assert!(
        out.contains("n = 4") && error.contains("n are no text"),
        "{out}{error}"
    );
    write("{}", r"\u001b[31mred");
    let refused = run(&["lora", "info", text(&file)]);
    let error = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{error}");
    assert!(
        !acts(&error) && error.contains(r"\u{1b}[31mred"),
        "{error:?}"
    );

    let to = folder.path().join("to");
    for scale in ["nan", "inf", "-inf", "1e999"] {
        let args = [
            "lora",
            "merge",
            text(&file),
            "--model",
            "m",
            "--to",
            text(&to),
        ];
        bad(
            &[&args[..], &[format!("--scale={scale}").as_str()]].concat(),
            &["--scale", "is no finite number"],
        );
    }
}
