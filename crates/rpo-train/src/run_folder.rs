//! A run folder: opened, checked against the experiment, and locked.

use crate::device::machine;
use crate::files::{self, locked};
use crate::runner::settings;
use crate::runner::setup::Setup;
use anyhow::{Context, Result};
use rpo_experiment::Experiment;
use rpo_experiment::Source;
use rpo_experiment::plan::Plan;
use rpo_experiment::run::{RECORDS, Run, RunInfo};
use rpo_files::Lock;
use rpo_files::failure::{BadInput, OrBadInput};
use rpo_files::tell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The version whose runs are read but not resumed: its hash of the inputs included what may change last bits.
const HASHED_OTHERWISE: &str = "0.1.0";

/// Where the cells of a run compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// On this machine's device.
    Here,
    /// Wherever an engine starts them.
    Elsewhere,
}

/// The folder of a run: `out`, or a name that ends in a hash of what the experiment means and of its inputs.
///
/// # Errors
/// An experiment that TOML cannot hold.
pub fn path(setup: &Setup, out: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = out {
        return Ok(path.to_path_buf());
    }
    let identity = toml::to_string_pretty(&setup.experiment.meaning())?;
    let hash = blake3::hash(format!("{identity}|{}", setup.inputs_hash).as_bytes());
    let name = format!("{}-{}", setup.experiment.name, &hash.to_hex()[..8]);
    Ok(Path::new(&setup.experiment.output).join(name))
}

/// A run's folder, locked so that only this process writes into it.
pub struct RunFolder {
    /// Its files.
    pub run: Run,
    _lock: Lock,
}

impl RunFolder {
    /// Creates the folder of an experiment, or finds the one that an earlier start created.
    ///
    /// It is at [`path`]; a different meaning gives a different folder. A moved run can be resumed.
    ///
    /// # Errors
    /// [`BadInput`] if `out` holds another run or anything else, or another process works in it; I/O errors.
    pub fn open(setup: &Setup, out: Option<&Path>, cells: Where) -> Result<Self> {
        let resolved =
            toml::to_string_pretty(&setup.experiment).context("the resolved experiment")?;
        let path = path(setup, out)?;
        refuse_foreign(&path)?;
        let lock = locked(&path)?;
        let folder = Self {
            run: Run { path },
            _lock: lock,
        };
        let path = &folder.run.path;
        let written = path.join("resolved.toml");
        if let Ok(before) = std::fs::read_to_string(&written) {
            let mut info = folder.run.info()?;
            let begun: Option<Experiment> = toml::from_str(&before).ok();
            let meant = begun.as_ref().map(Experiment::meaning);
            if info.version == HASHED_OTHERWISE {
                return Err(BadInput::new(format!(
                    "{}: was begun by rpo-train {HASHED_OTHERWISE}, which told runs apart in another way\n  hint: finish it with that version, or begin anew in another folder; report, generate and export read it",
                    path.display()
                )));
            }
            if meant != Some(setup.experiment.meaning()) || info.inputs != setup.inputs_hash {
                return Err(BadInput::new(format!(
                    "{}: holds another run (its settings or its inputs differ)\n  hint: name another folder with --out, or leave --out away",
                    path.display()
                )));
            }
            if cells == Where::Here {
                tell_difference(&info, setup);
            }
            if before != resolved {
                files::write(&written, resolved.as_bytes())?;
            }
            if folder.run.plan().ok().as_ref() != Some(&setup.plan) {
                files::write_json(&folder.run.plan_path(), &setup.plan)?;
            }
            if info.experiment_folder != setup.folder {
                info.experiment_folder.clone_from(&setup.folder);
                files::write_json(&path.join("run.json"), &info)?;
            }
            return Ok(folder);
        }
        let info = RunInfo {
            records: RECORDS,
            version: env!("CARGO_PKG_VERSION").into(),
            inputs: setup.inputs_hash.clone(),
            machine: match cells {
                Where::Here => machine(setup.device.as_deref()),
                Where::Elsewhere => String::new(),
            },
            experiment_folder: setup.folder.clone(),
            sources: setup.sources.clone(),
            computed: computed(setup),
            solver: settings::solver(setup.experiment.sampler.solver)
                .title(&setup.pipeline.schedule),
            judges: setup.judges_hash.clone(),
            references: setup.references_hashes.clone(),
            size: setup.size,
            cells: setup.cells.clone(),
        };
        files::write_json(&path.join("run.json"), &info)?;
        files::write_json(&folder.run.plan_path(), &setup.plan)?;
        files::write(&written, resolved.as_bytes())?;
        Ok(folder)
    }

    /// The commits that the run in `path` read, if it exists.
    pub fn sources(path: &Path) -> BTreeMap<String, Source> {
        let info = files::read_json::<RunInfo>(&path.join("run.json"));
        info.map(|info| info.sources).unwrap_or_default()
    }
}

/// Loads the inputs of an existing run again.
///
/// # Errors
/// [`BadInput`] if the folder is no run, or the inputs have changed since it began.
pub fn load(run: &Run) -> Result<(Setup, RunInfo)> {
    let resolved = run.path.join("resolved.toml");
    if !resolved.is_file() {
        return Err(BadInput::new(format!(
            "{}: there is none, so this is no run folder\n  hint: give the folder that `rpo-train FILE` made",
            resolved.display()
        )));
    }
    let (experiment, mut layers) = rpo_experiment::read(&resolved, &[], &[])?;
    let info = run.info().or_bad_input("run folder")?;
    layers.folder.clone_from(&info.experiment_folder);
    layers.sources.clone_from(&info.sources);
    let setup = Setup::load(experiment, &layers)?;
    if info.version == HASHED_OTHERWISE {
        tell!(
            "{}: was begun by rpo-train {HASHED_OTHERWISE}; whether model, encoders and subjects are still those of the run is not known",
            run.path.display()
        );
    } else if info.inputs != setup.inputs_hash {
        // A preset stands for what this version of the program knows by its name.
        let before = run.plan().map(|plan| plan.arms).unwrap_or_default();
        let changed = before
            .iter()
            .zip(&setup.arms)
            .find(|(then, now)| then != now);
        if let Some((then, now)) = changed {
            return Err(BadInput::new(format!(
                "{}: the arm `{}` was \"{}\", and its keys are \"{}\" in this version of the program\n  hint: use the version that made the run, or run the experiment again",
                run.path.display(),
                then.name,
                then.describe(),
                now.describe()
            )));
        }
        return Err(BadInput::new(format!(
            "{}: the model, the encoders, the subjects or the prompts are not those of the run\n  hint: put back what the run was made with (looked for from {})",
            run.path.display(),
            info.experiment_folder.display()
        )));
    }
    Ok((setup, info))
}

/// Refuses a folder that has files and is no run: their names might collide with a run's files.
fn refuse_foreign(path: &Path) -> Result<()> {
    if path.join("resolved.toml").exists() {
        return Ok(());
    }
    let Ok(entries) = std::fs::read_dir(path) else {
        return Ok(());
    };
    // A run that was killed before `run.json` was written has only these.
    let begun = |name: &str| name.starts_with(".rpo-") || ["run.json", "plan.json"].contains(&name);
    let mut names = entries
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned());
    let (info, plan) = (path.join("run.json"), path.join("plan.json"));
    let foreign = match names.find(|name| !begun(name)) {
        None if info.exists() && files::read_json::<RunInfo>(&info).is_err() => "run.json".into(),
        None if plan.exists() && files::read_json::<Plan>(&plan).is_err() => "plan.json".into(),
        None => return Ok(()),
        Some(name) => name,
    };
    Err(BadInput::new(format!(
        "{}: is no run folder and is not empty (it has {foreign}), and nothing is overwritten\n  hint: name a new folder with --out, or leave --out away",
        path.display()
    )))
}

/// Prints how this process computes differently from the one that began the run.
pub fn tell_difference(info: &RunInfo, setup: &Setup) {
    let (machine, computed) = (machine(setup.device.as_deref()), computed(setup));
    // Older runs do not record how they were computed.
    let other = !info.computed.is_empty() && info.computed != computed;
    // A run whose cells compute elsewhere has no machine of its own.
    let moved = !info.machine.is_empty() && info.machine != machine;
    if moved || other {
        let of = |machine: &str, computed: &str| match other {
            true => format!("{machine}, {computed}"),
            false => machine.to_owned(),
        };
        tell!(
            "this run began on \"{}\", here is \"{}\": its remaining steps may not be bit-identical to an uninterrupted run",
            of(&info.machine, &info.computed),
            of(&machine, &computed)
        );
    }
}

/// The settings that may change a run's last bits, which [`Experiment::meaning`] leaves out.
fn computed(setup: &Setup) -> String {
    let mut text = format!("sampler.batch {}", setup.experiment.sampler.batch);
    for arm in &setup.arms {
        let t = &arm.training;
        text += &format!(
            "; {}: gradient_accumulation {}, recompute {}",
            arm.name,
            t.gradient_accumulation,
            t.recompute.map_or("by size".into(), |r| r.to_string())
        );
    }
    text
}
