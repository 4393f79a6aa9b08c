//! Pictures of a LoRA: scales, sheets, files.
#![cfg(unix)]

mod home;

use home::{Home, SMALL, png_texts, pngs};
use std::fs;
use std::path::PathBuf;

#[test]
fn a_lora_is_drawn_with_several_scales() {
    let home = Home::new();
    home.succeeds(&["new", "my photos", "--class", "dog", "--name", "rex"]);
    let lora = [
        "rex.toml",
        "--out",
        "run",
        "--set",
        "lora.rank=2",
        "--set",
        "rules.lambda=[]",
        "--set",
        "rules.last=true",
    ];
    let told = home.succeeds(&[&lora[..], &SMALL].concat());
    assert!(
        told.contains(
            "chosen   step 2 of 2 by last\nweights  run/best/my-photos-rex.safetensors\n"
        ),
        "{told}"
    );
    let linked = fs::read(home.path("run/best/my-photos-rex.safetensors")).unwrap();
    assert!(linked.len() > 1000);
    home.succeeds(&[
        "generate",
        "run",
        "-n",
        "1",
        "--lora-scale",
        "0,0.5,1,1",
        "--sheet",
        "--out",
        "drawn",
    ]);
    let names = pngs(&home.path("drawn"));
    assert_eq!(names.len(), 4, "{names:?}");
    assert!(
        names[0].starts_with("step-000002-scale-0-seed-0-00-"),
        "{names:?}"
    );
    let sheet = image::open(home.path("drawn/step-000002-seed-0-sheet.png")).unwrap();
    assert!(
        sheet.width() > 3 * 64 && sheet.height() < 2 * 64,
        "{}",
        sheet.width()
    );
    // A run that ends at the base model has nothing to scale.
    let base = home.succeeds(&[
        "generate",
        "run",
        "-n",
        "1",
        "--step",
        "0",
        "--lora-scale",
        "0.5,1",
        "--out",
        "base",
    ]);
    assert_eq!(base.lines().count(), 1, "{base}");
    let texts = png_texts(&home.path("base").join(&pngs(&home.path("base"))[0]));
    assert!(!texts[0].1.contains("Lora scale"), "{texts:?}");
    // File systems count bytes.
    let long = "𠀀".repeat(70);
    home.succeeds(&[
        "generate", "run", "-n", "1", "--step", "0", "-p", &long, "--out", "base",
    ]);
    // The file for other programs draws the same picture.
    home.succeeds(&[
        "generate",
        "run",
        "-n",
        "1",
        "--lora",
        "run/best/my-photos-rex.safetensors",
        "--out",
        "by file",
    ]);
    let pixels = |path: PathBuf| image::open(path).unwrap().to_rgb8();
    let by_file = pngs(&home.path("by file"));
    let same = pixels(home.path("by file").join(&by_file[0]));
    let own = names.iter().find(|name| name.contains("scale-1-")).unwrap();
    assert_eq!(same, pixels(home.path("drawn").join(own)));
    assert!(
        home.refuses(&["generate", "run", "--lora-scale", "nan"])
            .contains("--lora-scale")
    );
}
