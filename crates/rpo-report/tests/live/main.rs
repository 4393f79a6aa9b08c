//! Event files and reports of a run while it trains, is killed and goes on.

mod reader;
mod run;

use reader::{What, events, shown};
use rpo_experiment::run::Record;
use rpo_files::Lock;
use rpo_report::collect::{CellEvents, Shown, collect};
use rpo_report::page::ReportData;
use rpo_reward::select::Kind;
use run::Trained;
use std::collections::BTreeMap;
use std::fs;

/// Trains up to `to` with a validation after every second step, which is saved; one second a step.
fn train(run: &Trained, file: &mut CellEvents, from: usize, to: usize, clock: f64) {
    let mut pending = Vec::new();
    for step in from..=to {
        let now = clock + step as f64;
        if step > 0 {
            let record = run.step(step);
            file.tell(&record, now).expect("told");
            pending.push(record);
        }
        if step.is_multiple_of(2) {
            let record = run.validation(step);
            pending.push(record.clone());
            run.save(&std::mem::take(&mut pending), step, step == 8);
            file.tell(&record, now + 0.5).expect("told");
            file.flush().expect("written");
        }
    }
}

/// The numbers that the records say, by tag and step.
fn wanted(run: &Trained) -> BTreeMap<(String, u64), f64> {
    let mut wanted = BTreeMap::new();
    let mut best = vec![(0, 0.0); run.plan.rules.len()];
    for record in run.folder().records().expect("records") {
        let (step, all) = match record {
            Record::Step {
                step,
                terms,
                loss,
                grad_norm,
            } => {
                let rate = run.plan.arms[0].training.learning_rate;
                let all = vec![
                    ("training/loss".to_owned(), loss),
                    ("training/grad_norm".to_owned(), grad_norm),
                    ("training/learning_rate".to_owned(), rate),
                    ("training/l_sim".to_owned(), terms["sim"]),
                    ("training/l_pref".to_owned(), terms["pref"]),
                ];
                (step, all)
            }
            Record::Round { step, kept, .. } => {
                (step, vec![("training/kept_pairs".to_owned(), kept as f64)])
            }
            Record::Validation { candidate, scores } => {
                let step = candidate.step;
                let mean = |of: &dyn Fn(f64, f64) -> f64| {
                    let all = scores.iter().map(|s| of(s.image, s.text));
                    all.sum::<f64>() / scores.len() as f64
                };
                let mut all = vec![
                    ("validation/ALIGN-I".to_owned(), mean(&|image, _| image)),
                    ("validation/ALIGN-T".to_owned(), mean(&|_, text| text)),
                ];
                for (rule, best) in run.plan.rules.iter().zip(&mut best) {
                    let l = rule.lambda.get();
                    let reward = mean(&|image, text| 1.0 / (l / image + (1.0 - l) / text));
                    let last = rule.kind == Kind::Last;
                    if !last {
                        all.push((format!("validation/reward/{}", rule.name), reward));
                    }
                    if last || reward > best.1 {
                        *best = (step, reward);
                    }
                    all.push((format!("chosen_step/{}", rule.name), best.0 as f64));
                }
                (step, all)
            }
        };
        wanted.extend(
            all.into_iter()
                .map(|(tag, value)| ((tag, step as u64), value)),
        );
    }
    wanted
}

/// Everything that the records say is shown, once, and nothing else.
fn as_recorded(run: &Trained) {
    let shown = shown(&run.run.events(run.cell()));
    let mut numbers = BTreeMap::new();
    let mut drawn = 0;
    for (key, event) in &shown {
        match &event.what {
            What::Number(_, value) => drop(numbers.insert(key.clone(), *value)),
            What::Picture(_, png) => {
                let picture = image::load_from_memory(png).expect("a picture").to_rgb8();
                assert_eq!(picture.dimensions(), (256, 256));
                assert_eq!(u64::from(picture.get_pixel(9, 9).0[0]), event.step);
                drawn += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    let wanted = wanted(run);
    assert!(numbers.keys().eq(wanted.keys()), "{:?}", numbers.keys());
    for (key, value) in &wanted {
        let apart = f64::from(numbers[key]) - value;
        assert!(apart.abs() <= 1e-6 * value.abs(), "{key:?}: {apart}");
    }
    let validated = wanted.keys().filter(|key| key.0 == "validation/ALIGN-I");
    assert_eq!(drawn, 3 * validated.count());
    // Of one tag, later steps come later.
    let mut clocks: BTreeMap<&str, f64> = BTreeMap::new();
    for ((tag, step), event) in &shown {
        let before = clocks.insert(tag, event.clock).unwrap_or(0.0);
        assert!(before <= event.clock, "{tag} at {step}");
    }
}

#[test]
fn what_is_told_is_there_before_the_training_ends() {
    let run = Trained::begin();
    let mut file = run.start(1e9);
    train(&run, &mut file, 0, 2, 1e9);
    as_recorded(&run);
    train(&run, &mut file, 3, 6, 1e9);
    as_recorded(&run);
}

#[test]
fn kills_leave_nothing_twice_and_nothing_out() {
    let run = Trained::begin();
    let mut file = run.start(1e9);
    train(&run, &mut file, 0, 5, 1e9);
    file.flush().expect("written");
    // Killed: step 5 is lost, and so is a part of the last event.
    std::mem::forget(file);
    let folder = run.run.events(run.cell());
    let first = fs::read_dir(&folder)
        .expect("a folder")
        .next()
        .expect("a file");
    let first = first.expect("an entry").path();
    let whole = fs::read(&first).expect("events");
    assert!(
        shown(&folder).contains_key(&("training/loss".into(), 5)),
        "it was told before the kill"
    );
    for lost in [7, 0, whole.len() / 3, whole.len() - 20] {
        fs::write(&first, &whole[..whole.len() - lost]).expect("cut");
        // The machine that goes on is behind.
        let mut file = run.start(1e9 - 500.0);
        file.flush().expect("written");
        as_recorded(&run);
        drop(file);
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path != first {
                fs::remove_file(path).expect("removed");
            }
        }
    }
    fs::write(&first, &whole[..whole.len() - 7]).expect("cut");
    let mut file = run.start(1e9 + 100.0);
    train(&run, &mut file, 5, 8, 1e9 + 100.0);
    drop(file);
    as_recorded(&run);
    let shown = shown(&folder);
    let clock = |step| shown[&("training/loss".to_owned(), step)].clock;
    assert_eq!([clock(4), clock(5)], [1e9 + 4.0, 1e9 + 105.0]);
    // Nothing is missing: no file is added.
    let count = || fs::read_dir(&folder).expect("a folder").count();
    assert_eq!(count(), 2);
    drop(run.start(2e9));
    assert_eq!(count(), 3);
    as_recorded(&run);
}

#[test]
fn what_an_earlier_start_could_not_write_is_told_by_the_next() {
    let run = Trained::begin();
    let mut pending = Vec::new();
    for step in 0..=4 {
        if step > 0 {
            pending.push(run.step(step));
        }
        if step % 2 == 0 {
            pending.push(run.validation(step));
        }
    }
    run.save(&pending, 4, false);
    let folder = run.run.events(run.cell());
    fs::create_dir_all(folder.parent().expect("a parent")).expect("a folder");
    fs::write(&folder, "a file is in the way").expect("written");
    let records = run.folder().records().expect("records");
    let failed = CellEvents::begin(&run.run, &run.plan, run.cell(), &records, 1e9);
    let error = failed.err().expect("nothing can be written").to_string();
    assert!(error.contains("tensorboard"), "{error}");
    fs::remove_file(&folder).expect("removed");
    let mut file = run.start(1e9);
    file.flush().expect("written");
    let loss = |step| shown(&folder)[&("training/loss".to_owned(), step)].clone();
    assert_eq!(loss(1).clock, 1e9);
    assert!(matches!(events(&path_of(&folder))[1].what, What::Restart));
    assert_eq!(loss(4).step, 4);
}

fn path_of(folder: &std::path::Path) -> std::path::PathBuf {
    let first = fs::read_dir(folder).expect("a folder").next();
    first.expect("a file").expect("an entry").path()
}

/// The data of the report at this moment, and what it prints.
fn report(run: &Trained) -> (ReportData, String) {
    let told = collect(&run.plan, &run.info, &run.run, &Shown::default()).expect("a report");
    let data = fs::read(run.run.path.join("report.json")).expect("data");
    (serde_json::from_slice(&data).expect("JSON"), told)
}

#[test]
fn a_report_shows_trainings_that_go_on() {
    let run = Trained::begin();
    fs::create_dir_all(&run.run.path).expect("a folder");
    assert!(report(&run).0.trajectories.is_empty());
    let lock = Lock::take(&run.folder().0).expect("the trainer's lock");
    let mut file = run.start(1e9);
    train(&run, &mut file, 0, 5, 1e9);
    // Half a line, as a reader may see it.
    let metrics = run.folder().metrics();
    let before = fs::read(&metrics).expect("a record");
    run.folder().append(&[run.step(5)]).expect("appended");
    let bytes = fs::read(&metrics).expect("a record");
    fs::write(&metrics, &bytes[..bytes.len() - 9]).expect("cut");

    let (data, told) = report(&run);
    let [one] = &data.trajectories[..] else {
        panic!("{} trajectories", data.trajectories.len());
    };
    assert_eq!(
        one.unfinished.as_deref(),
        Some("trained to step 4 of 8, still running")
    );
    let steps: Vec<usize> = one.validations.iter().map(|v| v.step).collect();
    assert_eq!((steps, one.stopped_step), (vec![0, 2, 4], 4));
    assert!(one.validations.iter().all(|v| v.strip.len() == 3));
    assert_eq!(one.training.len(), 4);
    let chosen: Vec<usize> = one.outcomes.iter().map(|o| o.chosen_step).collect();
    assert_eq!(chosen, [4, 4, 4]);
    assert!(one.outcomes.iter().all(|o| o.stopped_at_step.is_none()));
    assert!(data.test.is_none() && data.samples.is_empty());
    assert!(told.contains("0 of 2 cells are finished"), "{told}");
    assert!(
        told.contains("trained to step 4 of 8, still running; chosen so far: "),
        "{told}"
    );
    assert!(!run.run.path.join("eval.json").exists());

    drop(lock);
    let (data, _) = report(&run);
    let state = data.trajectories[0].unfinished.as_deref();
    assert_eq!(state, Some("trained to step 4 of 8, interrupted"));
    // Trained to the end, not tested.
    fs::write(&metrics, before).expect("written");
    train(&run, &mut file, 5, 8, 1e9);
    let (data, _) = report(&run);
    let state = data.trajectories[0].unfinished.as_deref();
    assert_eq!(
        state,
        Some("trained to its end at step 8, not tested: interrupted")
    );
}

#[test]
fn a_damaged_record_is_told_and_not_shown() {
    let run = Trained::begin();
    let mut file = run.start(1e9);
    train(&run, &mut file, 0, 4, 1e9);
    let metrics = run.folder().metrics();
    let mut bytes = fs::read(&metrics).expect("a record");
    bytes[40] ^= 1;
    fs::write(&metrics, &bytes).expect("changed");
    let (data, told) = report(&run);
    assert!(data.trajectories.is_empty());
    assert!(told.contains("another hash"), "{told}");
}
