//! Pictures of the class that a user gives: what is trained on, what names the run, what is told and refused.

use image::{Rgb, RgbImage};
use rpo_data::picture::{center_square, save_png};
use rpo_experiment::plan::{Plan, Purpose};
use rpo_pref::terms::Rows;
use rpo_train::progress::Progress;
use rpo_train::run_folder;
use rpo_train::runner::checkpoint;
use rpo_train::runner::prepare::{TrainingSet, prepare};
use rpo_train::runner::setup::Setup;
use rpo_train::runner::step::Step;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

fn picture(shade: u8) -> RgbImage {
    RgbImage::from_fn(90, 70, |x, y| Rgb([shade, x as u8, y as u8]))
}

/// A folder with photos of two subjects and three pictures of a class, the second with a caption.
struct Photos(tempfile::TempDir);

impl Photos {
    fn new() -> Self {
        let photos = Self(tempfile::tempdir().unwrap());
        for (name, shade) in [
            ("rex/0.png", 200),
            ("mug/0.png", 220),
            ("dogs/c.png", 250),
            ("dogs/a.png", 10),
            ("dogs/b.png", 130),
        ] {
            fs::create_dir_all(photos.at(name).parent().unwrap()).unwrap();
            save_png(photos.at(name), &picture(shade)).unwrap();
        }
        fs::write(photos.at("dogs/b.txt"), "a dog on the grass").unwrap();
        photos
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn load(&self, subjects: &str, recipe: &str) -> anyhow::Result<Setup> {
        let output = self.at("runs");
        let text = format!(
            "output = {output:?}\n[recipe]\npreset = \"dreambooth\"\n{recipe}\n[training]\nbatch = 16\n[subjects]\nsource = \"folder\"\n{subjects}\n"
        );
        let file = self.at("x.toml");
        fs::write(&file, text).unwrap();
        let (experiment, layers) = rpo_experiment::read(&file, &[], &[])?;
        Setup::load(experiment, &layers)
    }

    fn refused(&self, subjects: &str, recipe: &str) -> String {
        let loaded = self.load(subjects, recipe);
        loaded.map_or_else(|e| format!("{e:#}"), |_| "it was read".to_owned())
    }
}

const REX: &str = "path = \"rex\"\nclass = \"dog\"\nclass_folder = \"dogs\"";

fn prepared(setup: &Setup) -> anyhow::Result<TrainingSet> {
    let base = checkpoint::network(setup, None)?;
    let cell = &setup.cells[0];
    prepare(setup, &setup.drawer(), &base, cell, &mut Progress::new(1.0))
}

fn values(t: &candle_core::Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1::<f32>().unwrap()
}

#[test]
fn the_first_pictures_are_trained_on_under_their_captions() {
    let photos = Photos::new();
    for (asked, used) in [(2, 2), (200, 3)] {
        let setup = photos
            .load(REX, &format!("class_pictures = {asked}"))
            .unwrap();
        let cell = &setup.cells[0];
        assert_eq!(setup.pictures(cell, Purpose::Class), 0);
        assert_eq!(setup.preparation_cost(cell), 0.0, "nothing is drawn");
        let set = prepared(&setup).unwrap();
        let squares: Vec<RgbImage> = [10, 130, 250][..used]
            .iter()
            .map(|shade| center_square(&picture(*shade), setup.size))
            .collect();
        let wanted = setup.pipeline.encode_pictures(&squares).unwrap().mean;
        let found = set.class_latents.as_ref().unwrap();
        assert_eq!(values(&found.mean), values(&wanted));
        assert_eq!(
            set.class.prompts,
            ["a photo of a dog", "a dog on the grass"]
        );
        assert_eq!(set.class_texts, [0, 1, 0][..used]);

        // Every row of a step has the text of its picture: the picture is told by its x_t's mean, of which the noise is small at t = 0.
        let step = Step {
            pipeline: &setup.pipeline,
            set: &set,
            arm: &setup.arms[0],
            size: setup.size,
        };
        let [mut rng, mut flips, mut augment] =
            ["rows", "flips", "augment"].map(|name| rpo_data::random::stream(1, name, &[]));
        let batch = step.batch(&mut rng, &mut flips, &mut augment).unwrap();
        let rows = &batch.rows[&Rows::Class];
        let mut seen = std::collections::BTreeSet::new();
        for i in 0..16 {
            let noised = values(&rows.noised().get(i).unwrap());
            let near = |picture: usize| -> f64 {
                // The noise that would be in it if it were this picture has a deviation of 1.
                let a: f64 = setup.pipeline.schedule.alphas_cumprod[rows.timesteps()[i]];
                let own = values(&found.mean.get(picture).unwrap());
                let noise = noised.iter().zip(&own).map(|(noised, own)| {
                    (f64::from(*noised) - a.sqrt() * f64::from(*own)) / (1f64 - a).sqrt()
                });
                let squares: Vec<f64> = noise.map(|noise| noise * noise).collect();
                (squares.iter().sum::<f64>() / squares.len() as f64 - 1.0).abs()
            };
            let nearest = (0..used)
                .min_by(|a, b| near(*a).total_cmp(&near(*b)))
                .unwrap();
            let text = &rows.prompts()[i];
            if rows.timesteps()[i] < 300 {
                assert_eq!(text == "a dog on the grass", nearest == 1, "{i}");
                seen.insert(nearest);
            }
        }
        assert!(seen.len() > 1, "{seen:?}");
    }
}

#[test]
fn pixels_and_captions_name_the_run_and_paths_do_not() {
    let photos = Photos::new();
    let path = |subjects: &str| -> PathBuf {
        let setup = photos.load(subjects, "class_pictures = 2").unwrap();
        run_folder::path(&setup, None).unwrap()
    };
    let given = path(REX);
    let drawn = path("path = \"rex\"\nclass = \"dog\"");
    assert_ne!(given, drawn);
    fs::rename(photos.at("dogs"), photos.at("others")).unwrap();
    let moved = REX.replace("dogs", "others");
    assert_eq!(path(&moved), given);
    // What is not used does not count.
    save_png(photos.at("others/c.png"), &picture(99)).unwrap();
    assert_eq!(path(&moved), given);
    fs::write(photos.at("others/b.txt"), "a dog in the rain").unwrap();
    assert_ne!(path(&moved), given);
    fs::write(photos.at("others/b.txt"), "a dog on the grass").unwrap();
    assert_eq!(path(&moved), given);
    save_png(photos.at("others/a.png"), &picture(11)).unwrap();
    assert_ne!(path(&moved), given);
}

#[test]
fn pictures_that_change_under_a_run_are_refused() {
    let photos = Photos::new();
    let setup = photos.load(REX, "class_pictures = 2").unwrap();
    let message = || match prepared(&setup) {
        Ok(_) => "it was prepared".to_owned(),
        Err(e) => format!("{e:#}"),
    };
    assert_eq!(message(), "it was prepared");
    save_png(photos.at("dogs/b.png"), &picture(131)).unwrap();
    let told = message();
    assert!(
        told.contains("subjects.class_folder: b.png is another"),
        "{told}"
    );
    save_png(photos.at("dogs/b.png"), &picture(130)).unwrap();
    assert_eq!(message(), "it was prepared");
    fs::remove_file(photos.at("dogs/b.png")).unwrap();
    fs::remove_file(photos.at("dogs/c.png")).unwrap();
    let told = message();
    assert!(told.contains("1 of 2 pictures are left"), "{told}");
}

#[test]
fn subjects_of_several_classes_have_a_folder_each() {
    let photos = Photos::new();
    let two = |more: [&str; 3]| {
        let [all, rex, mug] = more;
        format!(
            "{all}\n[[subject]]\npath = \"rex\"\nclass = \"dog\"\n{rex}\n[[subject]]\npath = \"mug\"\nclass = \"mug\"\n{mug}"
        )
    };
    let counts = |subjects: &str| -> Vec<Option<usize>> {
        let setup = photos.load(subjects, "").unwrap();
        let classes = setup.classes.iter();
        let counts = classes.map(|class| class.as_ref().map(|class| class.count));
        let planned = setup.plan.subjects.iter().map(|s| s.class_pictures);
        assert_eq!(
            planned.collect::<Vec<_>>(),
            counts.clone().collect::<Vec<_>>()
        );
        counts.collect()
    };
    let own = two(["", "class_folder = \"dogs\"", ""]);
    assert_eq!(counts(&own), [Some(3), None]);
    for name in [
        "classes/dog/0.png",
        "classes/mug/0.png",
        "classes/mug/1.png",
    ] {
        fs::create_dir_all(photos.at(name).parent().unwrap()).unwrap();
        save_png(photos.at(name), &picture(7)).unwrap();
    }
    let by_class = two(["class_folder = \"classes\"", "", ""]);
    assert_eq!(counts(&by_class), [Some(1), Some(2)]);
    let own = two(["class_folder = \"classes\"", "class_folder = \"dogs\"", ""]);
    assert_eq!(counts(&own), [Some(3), Some(2)]);
    let told = photos.refused(&two(["class_folder = \"dogs\"", "", ""]), "");
    assert!(
        told.contains("has no folder `dog`") && told.contains("`mug`"),
        "{told}"
    );
}

#[test]
fn mistakes_name_key_and_file() {
    let photos = Photos::new();
    for (subjects, recipe, words) in [
        (
            REX,
            "prior_weight = 0.0",
            ["subjects.class_folder", "recipe.prior_weight"],
        ),
        (
            "class = \"dog\"\npath = \"rex\"\nclass_foldr = \"dogs\"",
            "",
            ["class_foldr", "class_folder"],
        ),
        (
            "class = \"dog\"\npath = \"rex\"\nclass_folder = \"cats\"",
            "",
            ["class_folder", "`cats` was not found"],
        ),
        (
            "class = \"dog\"\npath = \"rex\"\nclass_folder = \"~/dogs\"",
            "",
            ["class_folder", "only a shell"],
        ),
        (
            "class = \"dog\"\npath = \"rex\"\nclass_folder = \"dogs/b.txt\"",
            "",
            ["class_folder", "is a file"],
        ),
    ] {
        let told = photos.refused(subjects, recipe);
        assert!(words.iter().all(|word| told.contains(word)), "{told}");
    }
    fs::write(photos.at("dogs/a.png"), "no picture").unwrap();
    let told = photos.refused(REX, "");
    assert!(
        told.contains("subjects.class_folder") && told.contains("a.png"),
        "{told}"
    );
    assert_eq!(
        photos.refused("path = \"rex\"\nclass = \"dog\"", ""),
        "it was read"
    );
}

#[test]
fn a_run_with_given_pictures() {
    let photos = Photos::new();
    fs::write(photos.at("dogs/a.txt"), "[v] in a garden").unwrap();
    let run = |args: &[&str]| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_rpo-train"));
        let output = program.args(args).current_dir(photos.0.path()).output();
        let output = output.unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {told}");
        String::from_utf8(output.stdout).unwrap()
    };
    let text = "name = \"given\"\n[subjects]\nsource = \"folder\"\npath = \"rex\"\nclass = \"dog\"\nclass_folder = \"dogs\"\n[recipe]\npreset = \"custom_diffusion\"\n[rules]\nlambda = [0.5]\nlast = true\n";
    fs::write(photos.at("given.toml"), text).unwrap();
    let told = run(&["check", "given.toml"]);
    for line in [
        "dog: 3 pictures given, the first 3 used (recipe.class_pictures 200), 2 of them with a caption",
        "the caption of a.png, a picture of the class, holds the token `[v]`",
    ] {
        assert!(told.contains(line), "{told}");
    }
    let small = ["--set", "training.steps=2", "--set", "validation.every=1"];
    run(&[
        &["given.toml", "--out", "run", "--with", "smoke"][..],
        &small,
    ]
    .concat());
    let plan = fs::read_to_string(photos.at("run/plan.json")).unwrap();
    let plan: Plan = serde_json::from_str(&plan).unwrap();
    assert_eq!(plan.subjects[0].class_pictures, Some(3));
    let costs = fs::read_to_string(photos.at("run/costs.csv")).unwrap();
    let rows: Vec<Vec<&str>> = costs.lines().map(|row| row.split(',').collect()).collect();
    let place = rows[0].iter().position(|name| *name == "pictures");
    assert_eq!(rows[1][place.expect("pictures")], "0", "{costs}");
    assert!(photos.at("run/report.html").is_file());
}
