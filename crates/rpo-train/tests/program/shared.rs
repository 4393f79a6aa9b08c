//! Cells that need the same pictures at the same moment draw them together.

use rpo_experiment::plan::Purpose;
use rpo_train::progress::Progress;
use rpo_train::runner::checkpoint;
use rpo_train::runner::draw::Request;
use rpo_train::runner::setup::Setup;
use std::path::Path;
use std::sync::Barrier;
use std::thread;

const WORKERS: usize = 3;

fn setup(folder: &Path) -> Setup {
    let file = folder.join("x.toml");
    let text = format!(
        "output = {:?}\n[subjects]\ncount = 1\n[sampler]\nsteps = 3\nbatch = 2\n",
        folder.display().to_string()
    );
    std::fs::write(&file, text).unwrap();
    let (experiment, layers) = rpo_experiment::read(&file, &[], &[]).unwrap();
    Setup::load(experiment, &layers).unwrap()
}

/// The pictures of a cell's negatives, and the U-Net forwards that this worker computed for them.
fn draw(setup: &Setup) -> (Vec<image::RgbImage>, f64) {
    let shots = setup.shots(&setup.cells[0], Purpose::Negatives, 0);
    let requests: Vec<Request> = shots.into_iter().map(Request::from).collect();
    let base = checkpoint::network(setup, None).unwrap();
    let mut progress = Progress::new(1.0);
    let drawer = setup.drawer();
    let drawn = drawer.draw(&base, &requests, &mut progress, "test");
    (drawn.unwrap(), progress.computed())
}

#[test]
fn each_picture_is_drawn_once_by_whoever_comes_first() {
    let folder = tempfile::tempdir().unwrap();
    let alone = tempfile::tempdir().unwrap();
    let (expected, whole) = draw(&setup(alone.path()));
    let setups: Vec<Setup> = (0..WORKERS).map(|_| setup(folder.path())).collect();
    let together = Barrier::new(WORKERS);
    let drawn: Vec<_> = thread::scope(|scope| {
        let worker = |setup| {
            let together = &together;
            scope.spawn(move || {
                together.wait();
                draw(setup)
            })
        };
        let workers: Vec<_> = setups.iter().map(worker).collect();
        workers.into_iter().map(|w| w.join().unwrap()).collect()
    });
    for (pictures, _) in &drawn {
        assert!(*pictures == expected);
    }
    let computed: Vec<f64> = drawn.iter().map(|(_, computed)| *computed).collect();
    assert_eq!(computed.iter().sum::<f64>(), whole, "{computed:?}");
    // They drew together, instead of waiting for one.
    let drew = computed.iter().filter(|c| **c > 0.0).count();
    assert!(drew > 1, "{computed:?}");
    let left = folder.path().join("cache/.rpo-drawing");
    assert_eq!(std::fs::read_dir(left).unwrap().count(), 0);
}
