//! Pictures of a LoRA: scales, sheets, files.
#![cfg(unix)]

use crate::home::{Home, SMALL, png_texts, pngs};
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
    // Photos that are not square are shown by their centre squares; one row, the last step chosen, under the base model's.
    home.succeeds(&["figure", "run", "--out", "figure.png"]);
    let figure = image::open(home.path("figure.png")).unwrap();
    assert_eq!(figure.width(), 6 + 3 * 70);
}

#[test]
fn a_figure_shows_what_a_run_chose() {
    let home = Home::new();
    let text = "name = \"two\"\n[subjects]\nnames = [\"lion\", \"lion-2\"]\n[rules]\nlambda = [0.5]\nlast = true\n";
    fs::write(home.path("two.toml"), text).unwrap();
    home.succeeds(&[&["two.toml", "--out", "run"][..], &SMALL].concat());
    let table = home.succeeds(&["report", "run"]);
    assert!(table.contains("Mask-I: StickerBench renderer"), "{table}");
    fn figure<'a>(more: &[&'a str]) -> Vec<&'a str> {
        [&["figure", "run", "--prompts", "1"][..], more].concat()
    }
    let large = ["--subjects", "5", "--enlarge", "2", "--out", "all.png"];
    home.succeeds(&figure(&large));
    let all = image::open(home.path("all.png")).unwrap().to_rgb8();
    // Two subjects; base model, choice and last of each; a reference and a prompt, whose name takes two lines.
    assert_eq!(all.dimensions(), (6 + 2 * 134, 34 + 6 * 148));
    let subject = |name: &str| home.path(&format!("run/trajectories/ours/{name}/seed-0"));
    let of = |path: &str| {
        ["lion", "lion-2"].map(|name| image::open(subject(name).join(path)).unwrap().to_rgb8())
    };
    let shown = |column: u32, row: u32| {
        let (x, y) = (6 + 134 * column, 48 + 148 * row);
        image::RgbImage::from_fn(64, 64, |i, j| *all.get_pixel(x + 2 * i, y + 2 * j))
    };
    let first = usize::from(shown(0, 0) != of("references/00.png")[0]);
    for (place, which) in [(0, first), (3, 1 - first)] {
        assert_eq!(shown(0, place), of("references/00.png")[which]);
        assert_eq!(shown(0, place + 2), of("references/02.png")[which]);
        let base = of("samples/test/step-000000/prompt-00-0.png");
        assert_eq!(shown(1, place), base[which]);
        let last = of("samples/test/step-000002/prompt-00-0.png");
        assert_eq!(shown(1, place + 2), last[which]);
    }
    let again = home.refuses(&figure(&["--out", "all.png"]));
    assert!(again.contains("nothing is overwritten"), "{again}");
    let arm = home.refuses(&figure(&["--arm", "none"]));
    assert!(arm.contains("the run has no arm \"none\""), "{arm}");
    assert!(home.refuses(&figure(&["--rule", "x"])).contains("--rule"));
}
