//! The pictures of a batch's rows.

use candle_core::Tensor;
use image::imageops::flip_horizontal;
use rpo_data::random;
use rpo_encoders::clip::ClipImageEncoder;
use rpo_nn::Place;
use rpo_pref::terms::Rows;
use rpo_train::progress::Progress;
use rpo_train::runner::checkpoint;
use rpo_train::runner::prepare::prepare;
use rpo_train::runner::setup::Setup;
use rpo_train::runner::step::Step;
use std::path::Path;

fn setup(sets: &[&str]) -> Setup {
    let experiments = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments");
    let common = [
        "subjects.count=1",
        "training.batch=16",
        "recipe.latent=mean",
    ];
    let sets: Vec<String> = common.iter().chain(sets).map(|s| (*s).to_owned()).collect();
    let smoke = experiments.join("sizes/smoke.toml");
    let file = experiments.join("quickstart.toml");
    let (experiment, layers) = rpo_experiment::read(&file, &[smoke], &sets).unwrap();
    Setup::load(experiment, &layers).unwrap()
}

fn rows(t: &Tensor) -> Vec<Vec<f32>> {
    t.flatten_from(1).unwrap().to_vec2().unwrap()
}

fn apart(a: &[f32], b: &[f32]) -> f32 {
    a.iter()
        .zip(b)
        .fold(0.0, |most, (a, b)| most.max((a - b).abs()))
}

/// Every row has the embedding of the reference whose latents it has, mirrored where these are; its other row has the same latents,
/// mask and weight without it.
#[test]
fn every_row_has_its_own_picture() {
    rpo_nn::on_pool(|| {
        let setup = setup(&[
            "recipe.preset=disenbooth",
            "recipe.flip=true",
            "recipe.masked=true",
            "recipe.min_snr_gamma=5",
        ]);
        let base = checkpoint::network(&setup, None).unwrap();
        let mut progress = Progress::new(1.0);
        let cell = &setup.cells[0];
        let set = prepare(&setup, &setup.drawer(), &base, cell, &mut progress).unwrap();
        let squares = setup.squares(&setup.subjects[0]);
        let mirrored: Vec<_> = squares.iter().map(flip_horizontal).collect();
        let own = setup.image_encoder.as_ref().unwrap();
        assert!(own.ends_with("cond_clip"), "{}", own.display());
        let encoder = ClipImageEncoder::load(own, &Place::default()).unwrap();
        let embeddings = encoder.embeddings(&[squares, mirrored].concat()).unwrap();
        let found = set.embeddings.as_ref().unwrap();
        assert_eq!(found.dims(), [10, 128]);
        assert_eq!(rows(found), rows(&embeddings));

        let step = Step {
            pipeline: &setup.pipeline,
            set: &set,
            arm: &setup.arms[0],
            size: setup.size,
        };
        let [mut rng, mut flips, mut augment] =
            ["images", "flips", "augment"].map(|purpose| random::stream(3, purpose, &[]));
        let batch = step.batch(&mut rng, &mut flips, &mut augment).unwrap();
        let (with, without) = (
            &batch.rows[&Rows::Reference],
            &batch.rows[&Rows::WithoutImage],
        );
        assert_eq!(rows(with.noised()), rows(without.noised()));
        assert_eq!(with.timesteps(), without.timesteps());
        assert_eq!(rows(with.mask().unwrap()), rows(without.mask().unwrap()));
        let weights = &batch.weights;
        assert_eq!(weights[&Rows::Reference], weights[&Rows::WithoutImage]);
        assert!(without.image().is_none());

        // Which reference a row has is known from its mask, which is drawn from the reference itself.
        let masks = rows(with.mask().unwrap());
        let images = rows(with.image().unwrap());
        let all = rows(&embeddings);
        let mut kinds = [0, 0];
        for (mask, image) in masks.iter().zip(&images) {
            let place = all.iter().position(|e| e == image).expect("a reference's");
            let mirrored = place / 5;
            kinds[mirrored] += 1;
            let of = match mirrored {
                0 => set.masks[place].clone(),
                _ => set.masks[place % 5].mirrored(),
            };
            let mean = of.values().iter().sum::<f32>() / of.values().len() as f32;
            let roots: Vec<f32> = of.values().iter().map(|m| (m / mean).sqrt()).collect();
            assert!(apart(&roots, mask) < 1e-4, "{place}");
        }
        assert!(kinds[0] > 2 && kinds[1] > 2, "{kinds:?}");
    });
}

/// Another encoder is another run, and without an image adapter the encoder is none of its inputs.
#[test]
fn the_encoder_s_weights_are_inputs() {
    let with = |sets: &[&str]| setup(&[&["recipe.preset=disenbooth"], sets].concat());
    let own = with(&[]);
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("clip");
    std::fs::create_dir(&copy).unwrap();
    for entry in std::fs::read_dir(own.image_encoder.as_ref().unwrap()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    let named = format!("image_adapter.encoder={:?}", copy.display().to_string());
    let same = with(&[&named]).inputs_hash;
    let weights = copy.join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    assert_ne!(with(&[&named]).inputs_hash, same);
    let sets = ["recipe.preset=lora_dreambooth"];
    let none = setup(&sets);
    assert!(none.image_encoder.is_none());
    assert_ne!(none.inputs_hash, own.inputs_hash);
}
