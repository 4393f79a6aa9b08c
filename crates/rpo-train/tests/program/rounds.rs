//! Rounds of preferences between the trained model's own pictures: their batch, their own frozen model, their record.

use candle_core::Tensor;
use rpo_experiment::plan::Purpose;
use rpo_experiment::run::Record;
use rpo_pref::preferred::preferred;
use rpo_pref::terms::{Network, Rows};
use rpo_train::progress::Progress;
use rpo_train::run_folder::{RunFolder, Where};
use rpo_train::runner::checkpoint;
use rpo_train::runner::draw::Request;
use rpo_train::runner::objective::Objective;
use rpo_train::runner::round::Round;
use rpo_train::runner::run_all;
use rpo_train::runner::setup::Setup;
use rpo_train::runner::trainable::Trained;
use std::path::Path;

fn read(output: &Path, sets: &[&str]) -> anyhow::Result<Setup> {
    let experiments = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments");
    let common = [
        "subjects.count=1".to_owned(),
        "recipe.preset=dreambooth_dpo".to_owned(),
        "recipe.class_pictures=2".to_owned(),
        "recipe.negative_prompts=2".to_owned(),
        format!("output={:?}", output.display().to_string()),
    ];
    let own = sets.iter().map(|s| (*s).to_owned());
    let sets: Vec<String> = common.into_iter().chain(own).collect();
    let smoke = experiments.join("sizes/smoke.toml");
    let file = experiments.join("quickstart.toml");
    let (experiment, layers) = rpo_experiment::read(&file, &[smoke], &sets)?;
    Setup::load(experiment, &layers)
}

fn setup(output: &Path, sets: &[&str]) -> Setup {
    read(output, sets).unwrap()
}

/// Trained weights somewhere else than the base's: some of them `by` times as large.
fn elsewhere(setup: &Setup, by: f64) -> Box<dyn Trained> {
    let trainable = setup.trainable(&setup.arms[0]);
    let mut none = |_: &str, n: usize| vec![0.0; n];
    let start = trainable.start(setup.base(), &setup.subjects[0], &mut none);
    let start = start.unwrap();
    for (name, var) in start.params().vars() {
        if name.starts_with("up_blocks") {
            var.set(&(var.as_tensor() * by).unwrap()).unwrap();
        }
    }
    start
}

fn far(a: &Tensor, b: &Tensor) -> f64 {
    let far = (a - b).unwrap().abs().unwrap().max_all().unwrap();
    f64::from(far.to_scalar::<f32>().unwrap())
}

#[test]
fn a_round_compares_the_model_s_own_pictures_with_itself_at_its_start() {
    rpo_nn::on_pool(|| {
        let folder = tempfile::tempdir().unwrap();
        let setup = setup(
            folder.path(),
            &["recipe.angle=[0, 90]", "training.batch=4", "recipe.beta=3"],
        );
        let (cell, arm, drawer) = (&setup.cells[0], &setup.arms[0], setup.drawer());
        let features = setup
            .rewarder
            .references(&setup.squares(&setup.subjects[0]));
        let features = features.unwrap();
        let mut progress = Progress::new(1.0);
        let mut round = |step| {
            let start = elsewhere(&setup, 1.02);
            Round::of(&setup, cell, start, step, &features, &drawer, &mut progress).unwrap()
        };
        let of_step = round(7);
        let rng = || rpo_data::random::stream(3, "rounds", &[]);
        let schedule = &setup.pipeline.schedule;
        let (batch, frozen) = of_step.batch(arm, schedule, &mut rng()).unwrap().unwrap();
        let rows = |rows| &batch.rows[&rows];
        let (winners, losers) = (rows(Rows::Preferred), rows(Rows::Generated));
        assert_eq!((batch.rows.len(), &batch.labels), (2, &vec![1.0; 4]));
        assert_eq!(winners.timesteps(), losers.timesteps());

        // Pictures of the start, scored and filtered here; of noise that both rows share the difference is that of the pictures.
        let network = checkpoint::network(&setup, Some(&*elsewhere(&setup, 1.02))).unwrap();
        let shots = setup.shots(cell, Purpose::Own, 7);
        let texts: Vec<String> = shots.iter().map(|s| s.reward_text.clone()).collect();
        let requests: Vec<Request> = shots.into_iter().map(Request::from).collect();
        let draw = |network| drawer.draw(network, &requests, &mut Progress::new(1.0), "again");
        let pictures = draw(&network).unwrap();
        let of_base = draw(&checkpoint::network(&setup, None).unwrap()).unwrap();
        assert_ne!(pictures, of_base, "it is not the base that draws");
        let scores = setup.rewarder.score(&features, &pictures, &texts).unwrap();
        let pairs = preferred(&scores, 4, arm.recipe.angle);
        assert_eq!(of_step.pairs(), (2 * 6, pairs.len()));
        let latents = setup.pipeline.encode_pictures(&pictures).unwrap().mean;
        for (row, t) in winners.timesteps().iter().enumerate() {
            let of = |x: &Tensor| x.get(row).unwrap();
            let found = (of(winners.noised()) - of(losers.noised())).unwrap();
            let scale = schedule.alphas_cumprod[*t].sqrt();
            let is = |pair: &rpo_pref::preferred::Preferred| {
                let [winner, loser] = [pair.winner, pair.loser].map(|i| latents.get(i).unwrap());
                far(&((winner - loser).unwrap() * scale).unwrap(), &found) < 1e-4
            };
            assert!(pairs.iter().any(is), "row {row}");
        }
        // The same weights give the same round, another step other pictures.
        let [again, other] = [7, 8].map(&mut round);
        let noised = |round: &Round| {
            let batch = round.batch(arm, schedule, &mut rng()).unwrap().unwrap().0;
            batch.rows[&Rows::Preferred].noised().clone()
        };
        assert_eq!(far(&noised(&again), winners.noised()), 0.0);
        assert!(other.pairs().1 == 0 || far(&noised(&other), winners.noised()) > 0.0);

        // The loss against the start: log 2 there, then what the errors say, with its gradient.
        let theta = elsewhere(&setup, 1.02);
        let terms = arm.recipe.round_objective();
        let objective = Objective {
            terms: &terms,
            norm: arm.recipe.norm,
            theta: theta.unet(),
            reading: None,
            images: None,
            base: frozen,
            recompute: false,
        };
        let of = || objective.gradients(&batch, 1).unwrap();
        let at_start = of().0;
        assert!(
            (at_start.total - 2f64.ln()).abs() < 1e-6,
            "{}",
            at_start.total
        );
        for (name, var) in theta.params().vars() {
            if name.starts_with("down_blocks") {
                var.set(&(var.as_tensor() * 1.01).unwrap()).unwrap();
            }
        }
        let (losses, grads) = of();
        let errors = |network, rows| losses.errors[0].get(network, rows).to_vec();
        for rows in [Rows::Preferred, Rows::Generated] {
            let before = at_start.errors[0].get(Network::Frozen, rows);
            assert_eq!(
                errors(Network::Frozen, rows),
                before,
                "the start stands still"
            );
            assert_ne!(errors(Network::Trained, rows), before);
        }
        let better = |rows| -> Vec<f64> {
            let base = errors(Network::Frozen, rows).into_iter();
            let gain = base.zip(errors(Network::Trained, rows));
            gain.map(|(base, theta)| base - theta).collect()
        };
        let ells = better(Rows::Preferred)
            .into_iter()
            .zip(better(Rows::Generated));
        let by_hand = ells
            .map(|(w, l)| (1.0 + (-3.0 * (w - l)).exp()).ln())
            .sum::<f64>()
            / 4.0;
        assert!(
            (losses.total / by_hand - 1.0).abs() < 1e-9,
            "{} {by_hand}",
            losses.total
        );
        let vars = theta.params().vars();
        let length = rpo_nn::optim::global_norm(&grads, &vars).unwrap();
        let moved = |by: f64| {
            for (_, var) in &vars {
                let grad = grads.get(var).unwrap();
                var.set(&(var.as_tensor() + (grad * by).unwrap()).unwrap())
                    .unwrap();
            }
        };
        moved(1e-3 / length);
        let above = of().0.total;
        moved(-2e-3 / length);
        let slope = (above - of().0.total) / 2e-3;
        assert!((slope / length - 1.0).abs() < 0.01, "{slope} {length}");
    });
}

/// Trains the only cell; the record of it.
fn records(folder: &Path, name: &str, sets: &[&str]) -> Vec<Record> {
    let named = format!("name=\"{name}\"");
    let sets: Vec<&str> = sets.iter().copied().chain([named.as_str()]).collect();
    let setup = setup(folder, &sets);
    let run = RunFolder::open(&setup, None, Where::Here).unwrap();
    let failed = run_all(&setup, &run.run).unwrap();
    assert!(failed.is_empty(), "{:#}", failed[0].error);
    let folder = run.run.trajectory(&setup.cells[0]);
    folder.checked_records().unwrap()
}

fn steps(records: &[Record]) -> Vec<(usize, Vec<String>)> {
    let steps = records.iter().filter_map(|record| match record {
        Record::Step { step, terms, .. } => Some((*step, terms.keys().cloned().collect())),
        _ => None,
    });
    steps.collect()
}

#[test]
fn rounds_are_recorded_and_those_without_pairs_train_as_dreambooth() {
    rpo_nn::on_pool(|| {
        let folder = tempfile::tempdir().unwrap();
        let records = |name, sets: &[&str]| records(folder.path(), name, sets);
        let rounds = |records: &[Record]| -> Vec<(usize, usize, usize, usize)> {
            let rounds = records.iter().filter_map(|record| match record {
                Record::Round {
                    step,
                    round,
                    pairs,
                    kept,
                } => Some((*step, *round, *pairs, *kept)),
                _ => None,
            });
            rounds.collect()
        };
        let found = records("rounds", &["recipe.angle=[0, 90]"]);
        let [(2, 1, 12, first), (3, 2, 12, second)] = rounds(&found)[..] else {
            panic!("{:?}", rounds(&found))
        };
        assert!(first > 0 && second > 0, "{first} {second}");
        let named =
            |step: usize, terms: &[&str]| (step, terms.iter().map(|t| (*t).to_owned()).collect());
        let [before, own] = [&["prior", "sim"][..], &["pref"]];
        let wanted = [
            named(1, before),
            named(2, before),
            named(3, own),
            named(4, own),
        ];
        assert_eq!(steps(&found), wanted);

        // A window that keeps nothing: the same losses as without rounds, to the last bit.
        let empty = records("empty", &["recipe.angle=[89.9999999, 90]"]);
        assert_eq!(rounds(&empty), [(2, 1, 12, 0), (3, 2, 12, 0)]);
        let plain = records("plain", &["recipe.rounds=0", "recipe.l_pref_weight=0"]);
        let others = |record: &Record| !matches!(record, Record::Round { .. });
        let empty: Vec<Record> = empty.into_iter().filter(others).collect();
        assert_eq!(empty, plain);
        assert_ne!(empty[..], found[..]);
    });
}

#[test]
fn bad_keys_are_named_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let said = |sets: &[&str]| match read(folder.path(), sets) {
        Ok(_) => panic!("{sets:?} was accepted"),
        Err(error) => format!("{error:#}"),
    };
    for (set, key, hint) in [
        (
            "recipe.angle=[70, 20]",
            "recipe.angle",
            "0 <= from < to <= 90",
        ),
        (
            "recipe.rounds_from=1.5",
            "recipe.rounds_from",
            "share of the steps",
        ),
        ("recipe.round=3", "recipe.round", "`rounds`"),
        ("recipe.rounds=-1", "recipe.rounds", "-1"),
        (
            "recipe.negatives_per_prompt=1",
            "recipe.negatives_per_prompt",
            "two pictures",
        ),
    ] {
        let said = said(&[set]);
        assert!(said.contains(key) && said.contains(hint), "{set}: {said}");
    }
}
