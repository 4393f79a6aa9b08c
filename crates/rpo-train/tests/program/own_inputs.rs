//! Own prompts and several own subjects reach the runner, and another text of the prompts is another run.

use rpo_data::picture::save_png;
use rpo_experiment::plan::Purpose;
use rpo_train::run_folder;
use rpo_train::runner::setup::Setup;
use std::path::{Path, PathBuf};

fn setup(folder: &Path, prompts: &str) -> Setup {
    let text = format!(
        "output = \"runs\"\n[subjects]\nsource = \"folder\"\n[prompts]\n{prompts}\n
[[subject]]\npath = \"photos/rex\"\nclass = \"dog\"\ntoken = \"[w]\"\n
[[subject]]\npath = \"photos/mug\"\nname = \"cup\"\nclass = \"mug\"\n"
    );
    let file = folder.join("x.toml");
    std::fs::write(&file, text).unwrap();
    let (experiment, layers) = rpo_experiment::read(&file, &[], &[]).unwrap();
    Setup::load(experiment, &layers).unwrap()
}

#[test]
fn the_text_of_prompts_names_the_run_and_subjects_have_their_own_words() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["photos/rex", "photos/mug"] {
        std::fs::create_dir_all(at(name)).unwrap();
        save_png(at(name).join("00.png"), &image::RgbImage::new(80, 64)).unwrap();
    }
    for (name, text) in [
        ("a.txt", "[style]\na {} in oil\n"),
        ("b.txt", "# the same\na {} in oil\n"),
        ("c.txt", "a {} in ink\n"),
    ] {
        std::fs::write(at(name), text).unwrap();
    }
    let path = |prompts: &str| -> PathBuf {
        run_folder::path(&setup(folder.path(), prompts), None).unwrap()
    };
    let own = path("test = \"a.txt\"");
    assert_eq!(own, path("test = \"b.txt\""));
    assert_ne!(own, path("test = \"c.txt\""));
    let plain = path("");
    assert_ne!(own, plain);
    assert_eq!(plain, path("test = \"dreambench-test\""));

    let setup = setup(folder.path(), "test = \"a.txt\"");
    let of = |i: usize| {
        let s = &setup.subjects[i];
        (s.name.as_str(), s.class.as_str(), s.token.as_str(), s.live)
    };
    assert_eq!(of(0), ("rex", "dog", "[w]", true));
    assert_eq!(of(1), ("cup", "mug", "[v]", false));
    let shots = setup.shots(&setup.cells[0], Purpose::Test, 0);
    assert_eq!(shots[0].prompt, "a [w] dog in oil");
    assert_eq!(setup.kinds(&setup.cells[0], Purpose::Test), [Some("style")]);
}
