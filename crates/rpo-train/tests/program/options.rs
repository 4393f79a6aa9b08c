//! Options of training that change single rows of a step: min-SNR weights, mirrored references, output preservation.

use image::imageops::flip_horizontal;
use rpo_diffusion::UNet2DConditionModel;
use rpo_pref::terms::Rows;
use rpo_train::progress::Progress;
use rpo_train::runner::checkpoint;
use rpo_train::runner::objective::{Batch, Objective};
use rpo_train::runner::prepare::{TrainingSet, prepare};
use rpo_train::runner::setup::Setup;
use rpo_train::runner::step::Step;
use std::path::Path;

fn setup(sets: &[&str]) -> Setup {
    let experiments = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments");
    let common = [
        "subjects.count=1",
        "recipe.l_pref_weight=0",
        "training.batch=16",
        "subjects.captions=false",
    ];
    let sets: Vec<String> = common.iter().chain(sets).map(|s| (*s).to_owned()).collect();
    let smoke = experiments.join("sizes/smoke.toml");
    let file = experiments.join("quickstart.toml");
    let (experiment, layers) = rpo_experiment::read(&file, &[smoke], &sets).unwrap();
    Setup::load(experiment, &layers).unwrap()
}

fn prepared(setup: &Setup) -> TrainingSet {
    let base = checkpoint::network(setup, None).unwrap();
    let mut progress = Progress::new(1.0);
    prepare(
        setup,
        &setup.drawer(),
        &base,
        &setup.cells[0],
        &mut progress,
    )
    .unwrap()
}

fn batch(setup: &Setup, set: &TrainingSet) -> Batch {
    let step = Step {
        pipeline: &setup.pipeline,
        set,
        arm: &setup.arms[0],
        size: setup.size,
    };
    let mut rng = rpo_data::random::stream(3, "options", &[]);
    let mut flips = rpo_data::random::stream(3, "flips", &[]);
    let mut augment = rpo_data::random::stream(3, "augment", &[]);
    step.batch(&mut rng, &mut flips, &mut augment).unwrap()
}

#[test]
fn min_snr_weighs_references_by_their_timesteps() {
    let plain = setup(&[]);
    let set = prepared(&plain);
    let without = batch(&plain, &set);
    assert!(without.weights.is_empty());
    let weighted = setup(&["recipe.min_snr_gamma=5"]);
    let with = batch(&weighted, &set);
    // The same draws, so the weights belong to the timesteps of either.
    assert_eq!(
        with.rows[&Rows::Reference].timesteps(),
        without.rows[&Rows::Reference].timesteps()
    );
    let a = &plain.pipeline.schedule.alphas_cumprod;
    let snr = |t: &usize| a[*t] / (1.0 - a[*t]);
    let times = with.rows[&Rows::Reference].timesteps().iter();
    let wanted: Vec<f64> = times.map(|t| snr(t).min(5.0) / snr(t)).collect();
    let found = &with.weights[&Rows::Reference];
    assert_eq!(found.len(), 16);
    assert!(
        found
            .iter()
            .zip(&wanted)
            .all(|(a, b)| (a - b).abs() < 1e-12)
    );
    assert!(found.iter().any(|w| *w < 0.9) && found.contains(&1.0));
}

#[test]
fn mirrored_references_follow_the_others() {
    let setup = setup(&["recipe.flip=true"]);
    let set = prepared(&setup);
    let n = set.references.len();
    assert_eq!(set.reference_latents.mean.dim(0).unwrap(), 2 * n);
    let mirrored: Vec<_> = set.references.iter().map(flip_horizontal).collect();
    let wanted = setup.pipeline.encode_pictures(&mirrored).unwrap().mean;
    let found = set.reference_latents.mean.narrow(0, n, n).unwrap();
    let far = (wanted - found).unwrap().abs().unwrap().max_all().unwrap();
    assert_eq!(far.to_scalar::<f32>().unwrap(), 0.0);
    // Other rows of the batch are as without it, and some references differ.
    let without = self::setup(&[]);
    let [with, without] = [batch(&setup, &set), batch(&without, &prepared(&without))];
    let rows = |batch: &Batch| batch.rows[&Rows::Reference].clone();
    let (with, without) = (rows(&with), rows(&without));
    assert_eq!(with.timesteps(), without.timesteps());
    let differ = (with.noised() - without.noised()).unwrap().abs().unwrap();
    let differ = differ.flatten_from(1).unwrap().max(1).unwrap();
    let differ = differ.to_vec1::<f32>().unwrap();
    let mirrored = differ.iter().filter(|d| **d > 0.0).count();
    assert!((4..=12).contains(&mirrored), "{differ:?}");
}

#[test]
fn rendered_references_have_captions_where_asked_for() {
    let captions = |sets: &[&str]| -> Vec<Option<String>> {
        let subject = &setup(sets).subjects[0];
        let references = subject.references.iter();
        references.map(|r| r.caption.clone()).collect()
    };
    assert!(captions(&[]).iter().all(Option::is_none));
    let found = captions(&["subjects.captions=true", "subjects.token=\"sks\""]);
    for (i, caption) in found.iter().enumerate() {
        let scene = ["on a wooden floor", "on a street"][i % 2];
        assert_eq!(*caption, Some(format!("a photo of a sks lion {scene}")));
    }
}

/// Output preservation alone counts, but L_sim has to be there: its weight is too small to matter.
#[test]
fn preservation_is_the_distance_to_the_base_s_outputs() {
    rpo_nn::on_pool(|| {
        let setup = setup(&[
            "recipe.preservation_weight=1",
            "recipe.l_sim_weight=1e-12",
            "recipe.instance_prompt=\"a photo of a {}\"",
            "training.batch=4",
        ]);
        let batch = batch(&setup, &prepared(&setup));
        let arm = &setup.arms[0];
        assert_eq!(arm.recipe.passes().trainable, 2);
        assert_eq!(arm.recipe.passes().frozen, 1);
        let terms = arm.recipe.objective();
        let base = setup.pipeline.unet(&setup.pipeline.unet_params).unwrap();
        let params = setup.pipeline.trainable_unet().unwrap();
        let theta = setup.pipeline.unet(&params).unwrap();
        let objective = Objective {
            terms: &terms,
            norm: arm.recipe.norm,
            theta: &theta,
            reading: None,
            images: None,
            base: &base,
            recompute: false,
        };
        let of = || objective.gradients(&batch, 1).unwrap();
        assert_eq!(of().0.terms["preservation"], 0.0, "it begins at the base");

        // Somewhere else: every tensor of the last convolutions a little larger.
        for (name, var) in params.vars() {
            if name.starts_with("up_blocks") {
                var.set(&(var.as_tensor() * 1.02).unwrap()).unwrap();
            }
        }
        let (losses, grads) = of();
        let rows = &batch.rows[&Rows::Plain];
        let times: Vec<f64> = rows.timesteps().iter().map(|t| *t as f64).collect();
        let text = setup
            .pipeline
            .encode_prompts(&["a photo of a lion"; 4], 64)
            .unwrap();
        let predict =
            |unet: &UNet2DConditionModel| unet.forward(rows.noised(), &times, &text).unwrap();
        let by_hand = (predict(&theta) - predict(&base)).unwrap().sqr().unwrap();
        let by_hand = f64::from(by_hand.mean_all().unwrap().to_scalar::<f32>().unwrap());
        let value = losses.terms["preservation"];
        assert!(
            value > 1e-6 && (value / by_hand - 1.0).abs() < 1e-5,
            "{value} {by_hand}"
        );
        // In parts, the same.
        let parts = objective.gradients(&batch, 2).unwrap().0.terms["preservation"];
        assert!((parts / value - 1.0).abs() < 1e-5, "{parts} {value}");

        // Along the gradient the loss rises by its length.
        let vars = params.vars();
        let length = rpo_nn::optim::global_norm(&grads, &vars).unwrap();
        let step = 1e-3 / length;
        let moved = |by: f64| {
            for (_, var) in &vars {
                let grad = grads.get(var).unwrap();
                var.set(&(var.as_tensor() + (grad * by).unwrap()).unwrap())
                    .unwrap();
            }
        };
        moved(step);
        let above = of().0.terms["preservation"];
        moved(-2.0 * step);
        let below = of().0.terms["preservation"];
        let slope = (above - below) / 2e-3;
        assert!((slope / length - 1.0).abs() < 0.01, "{slope} {length}");
    });
}
