//! Scales and averages as candidates: scored at every step, chosen, kept, tested, drawn and exported like trained weights.

use crate::checkpoints::{numbers, of_arm, tensors};
use crate::home::{Home, SMALL, png_texts, pngs};
use serde_json::Value;
use std::fs;
use std::path::Path;

const EXPERIMENT: &str = r#"name = "candidates"
[subjects]
names = ["lion"]
[lora]
rank = 2
[rules]
lambda = [0.5]
last = true
[training]
learning_rate = 0.5
[candidates]
scale = [0.01, 1]
ema = 0.9
"#;

fn records(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn variants_of_a_step_are_chosen_as_its_weights_are() {
    let home = Home::new();
    fs::write(home.path("x.toml"), EXPERIMENT).unwrap();
    let told = home.succeeds(&["check", "x.toml"]);
    assert!(told.contains("each time with scale 0.01, EMA"), "{told}");
    let one = ["--set", "training.steps=1"];
    home.succeeds(&[&["x.toml", "--out", "run"][..], &SMALL, &one].concat());

    // A rate that ruins the model: a hundredth of the change is better than all of it.
    let folder = of_arm(&home, "ours");
    let scored: Vec<(u64, String)> = records(&folder)
        .iter()
        .filter(|r| r["kind"] == "validation")
        .map(|r| {
            let variant = r["variant"].as_str().unwrap_or("trained");
            (r["step"].as_u64().unwrap(), variant.to_owned())
        })
        .collect();
    let steps: Vec<u64> = scored.iter().map(|(step, _)| *step).collect();
    let last = *steps.last().unwrap();
    assert_eq!(scored[0], (0, "trained".to_owned()));
    for of_step in scored[1..].chunks(3) {
        let names: Vec<&str> = of_step.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["scale-0.01", "ema", "trained"]);
    }
    let kept = |name: &str| {
        folder
            .join(format!("lora/step-{last:06}{name}"))
            .join("diffusers/pytorch_lora_weights.safetensors")
    };
    let (whole, part) = (kept(""), kept("-scale-0.01"));
    assert!(whole.is_file() && part.is_file(), "{}", part.display());
    let (whole, part) = (tensors(&whole), tensors(&part));
    for ((name, whole), (_, part)) in whole
        .tensors_sorted()
        .unwrap()
        .iter()
        .zip(part.tensors_sorted().unwrap())
    {
        let share = if name.contains("lora_B") { 0.01 } else { 1.0 };
        for (whole, part) in numbers(whole).iter().zip(numbers(&part)) {
            let wanted = f64::from(*whole) * share;
            assert!(
                (f64::from(part) - wanted).abs() <= 1e-7 * wanted.abs(),
                "{name}"
            );
        }
    }
    let card = folder.join(format!("lora/step-{last:06}-scale-0.01/README.md"));
    let card = fs::read_to_string(card).unwrap();
    assert!(
        card.contains("| weights | what was trained, 0.01 times;"),
        "{card}"
    );

    // Its own pictures, and the same ones as the trained weights give at this scale.
    let draw = |out: &str, from: &[&str]| {
        home.succeeds(&[&["generate", "run", "-n", "1", "--out", out], from].concat());
        let name = pngs(&home.path(out))[0].clone();
        let picture = home.path(out).join(&name);
        let told = png_texts(&picture)[0].1.clone();
        (name, told, image::open(picture).unwrap().to_rgb8())
    };
    let at = last.to_string();
    let variant = format!("{at}-scale-0.01");
    let own = draw("own", &["--step", &variant]);
    assert!(
        own.0.starts_with(&format!("step-{last:06}-scale-0.01-")),
        "{}",
        own.0
    );
    assert!(
        own.1.contains(&format!("step {last} (scale 0.01)")),
        "{}",
        own.1
    );
    let scaled = draw("scaled", &["--step", &at, "--lora-scale", "0.01"]);
    let whole = draw("whole", &["--step", &at]);
    let far = |a: &image::RgbImage, b: &image::RgbImage| {
        let both = a.as_raw().iter().zip(b.as_raw());
        both.map(|(a, b)| a.abs_diff(*b)).max().unwrap()
    };
    assert!(far(&own.2, &scaled.2) <= 1, "{}", far(&own.2, &scaled.2));
    assert!(far(&own.2, &whole.2) > 20);
    let none = home.refuses(&["generate", "run", "--step", "1-scale-0.7"]);
    assert!(
        none.contains("step 1 (scale 0.7) of") && none.contains(&variant),
        "{none}"
    );
    let odd = home.refuses(&["generate", "run", "--step", "2-best"]);
    assert!(odd.contains("120-scale-0.4"), "{odd}");

    // The report knows them, and so does the program's last word.
    let page = fs::read_to_string(home.path("run/report.json")).unwrap();
    let page: Value = serde_json::from_str(&page).unwrap();
    let outcome = &page["trajectories"][0]["outcomes"][0];
    let test = folder.join("test");
    assert_eq!(outcome["chosen_variant"], "scale 0.01", "{outcome}");
    let name = format!("step-{last:06}-scale-0.01");
    assert!(test.join(format!("{name}.json")).is_file());
    let best = fs::read_dir(home.path("run/best")).unwrap().flatten();
    let led: Vec<_> = best
        .filter_map(|link| fs::read_link(link.path()).ok())
        .collect();
    assert!(
        led.iter().any(|to| to.to_string_lossy().contains(&name)),
        "{led:?}"
    );
    home.succeeds(&["figure", "run", "--out", "figure.png"]);
    assert!(test.join(format!("step-{last:06}.json")).is_file());
    home.succeeds(&["report", "run"]);
    home.succeeds(&["export", "run", "--step", &variant, "--to", "model"]);
}

#[test]
fn scales_and_decays_out_of_range_are_refused_by_key() {
    let home = Home::new();
    for (keys, said) in [
        ("scale = [0.4, 0.0]", "`candidates.scale.1`: 0 is no scale"),
        ("scale = [-1.0]", "`candidates.scale.0`: -1 is no scale"),
        ("scale = [2.5]", "`candidates.scale.0`: 2.5 is no scale"),
        ("scale = [0.33333]", "with at most three decimals"),
        (
            "scale = [0.4, 0.4]",
            "`candidates.scale.1`: 0.4 is given twice",
        ),
        ("ema = 1.0", "candidates.ema"),
        ("scales = [0.4]", "scale"),
    ] {
        fs::write(home.path("x.toml"), format!("[candidates]\n{keys}\n")).unwrap();
        let told = home.refuses(&["check", "x.toml"]);
        assert!(told.contains(said), "{keys}: {told}");
    }
}
