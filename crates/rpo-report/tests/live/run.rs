//! A run folder that is trained by this test, step by step, without a model.

use rpo_data::picture::png_bytes;
use rpo_experiment::plan::{Cell, Plan, Purpose};
use rpo_experiment::run::{Folder, RECORDS, Record, Run, RunInfo};
use rpo_report::collect::CellEvents;
use rpo_reward::Score;
use std::fs;
use tempfile::TempDir;

/// Pictures are this large, TensorBoard's at most 256.
const SIDE: u32 = 300;

/// A run of two subjects and 8 steps, with a validation after every second.
pub(crate) struct Trained {
    _folder: TempDir,
    pub(crate) run: Run,
    pub(crate) plan: Plan,
    pub(crate) info: RunInfo,
}

impl Trained {
    pub(crate) fn begin() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("live.toml");
        let text = "[subjects]\ncount = 2\n[training]\nsteps = 8\n[validation]\nevery = 2\nprompts = 4\npictures_per_prompt = 1\n[rules]\nlambda = [0.3, 0.7]\nmean = [\"harmonic\"]\nlast = true\n";
        fs::write(&file, text).expect("written");
        let (experiment, layers) = rpo_experiment::read(&file, &[], &[]).expect("an experiment");
        let plan = Plan::of(experiment, &layers).expect("a plan");
        let info = RunInfo {
            records: RECORDS,
            version: "0".into(),
            inputs: String::new(),
            machine: "a machine".into(),
            experiment_folder: folder.path().to_owned(),
            sources: Default::default(),
            computed: String::new(),
            solver: String::new(),
            judges: String::new(),
            references: Default::default(),
            size: 64,
            cells: plan.cells.clone(),
        };
        let run = Run {
            path: folder.path().join("run"),
        };
        Self {
            _folder: folder,
            run,
            plan,
            info,
        }
    }

    pub(crate) fn cell(&self) -> &Cell {
        &self.plan.cells[0]
    }

    pub(crate) fn folder(&self) -> Folder {
        self.run.trajectory(self.cell())
    }

    pub(crate) fn step(&self, step: usize) -> Record {
        let loss = 1.0 / (step as f64 + 0.37);
        Record::Step {
            step,
            terms: [("sim".into(), loss / 3.0), ("pref".into(), loss / 7.0)].into(),
            loss,
            grad_norm: f64::from(step as u32).sqrt(),
        }
    }

    /// Draws and scores; step 4 is the best for both λ.
    pub(crate) fn validation(&self, step: usize) -> Record {
        let prompts = self.plan.prompts(self.cell(), Purpose::Validation);
        for p in 0..prompts.len() {
            let color = image::Rgb([step as u8, 10 * p as u8, 77]);
            let picture = image::RgbImage::from_pixel(SIDE, SIDE, color);
            let name = format!("prompt-{p:02}-0.png");
            let path = self.folder().samples("validation", step).join(name);
            rpo_files::write(&path, &png_bytes(&picture)).expect("written");
        }
        let high = if step == 4 { 0.9 } else { 0.5 };
        let score = |p: usize| Score {
            image: high - 0.01 * p as f64,
            text: high + 0.003 * p as f64,
        };
        let scores = (0..prompts.len()).map(score).collect();
        let candidate = step.into();
        Record::Validation { candidate, scores }
    }

    /// Begins or resumes, as a trainer does.
    pub(crate) fn start(&self, clock: f64) -> CellEvents<'_> {
        let folder = self.folder();
        fs::create_dir_all(&folder.0).expect("a folder");
        let latest = folder.checked().expect("no damage");
        folder
            .cut(latest.map_or(0, |l| l.metrics_bytes))
            .expect("cut");
        let records = folder.records().expect("records");
        CellEvents::begin(&self.run, &self.plan, self.cell(), &records, clock).expect("a file")
    }

    /// Appends records and saves the state after `step`.
    pub(crate) fn save(&self, records: &[Record], step: usize, done: bool) {
        let folder = self.folder();
        folder.append(records).expect("appended");
        fs::create_dir_all(folder.0.join("state")).expect("a folder");
        folder.point_to(step, done).expect("saved");
    }
}
