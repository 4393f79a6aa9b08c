//! What an experiment amounts to before any weights are read: arms, rules, subjects, prompts and what they cost.

use super::settings;
use crate::paths;
use crate::plan::folder_name;
use anyhow::Result;
use rpo_data::prompts::{PromptSet, dreambench, dreambench::SUBJECTS};
use rpo_data::stickerbench;
use rpo_data::subject::{self, Subject};
use rpo_diffusion::{NoiseSchedule, SamplerConfig};
use rpo_experiment::{Experiment, Layers, SubjectSource, TrainingArm};
use rpo_files::failure::{BadInput, OrBadInput};
use rpo_reward::select::Rule;
use std::path::{Path, PathBuf};

/// An experiment with its arms, rules and subjects.
pub struct Outline {
    /// The resolved experiment.
    pub experiment: Experiment,
    /// Its arms, each with its whole recipe.
    pub arms: Vec<TrainingArm>,
    /// Its selection rules.
    pub rules: Vec<Rule>,
    /// Its subjects.
    pub subjects: Vec<Subject>,
    /// Network evaluations a picture.
    evaluations: usize,
}

impl Outline {
    /// Resolves an experiment and reads its subjects.
    ///
    /// # Errors
    /// [`BadInput`] naming the file or key.
    pub fn load(experiment: Experiment, layers: &Layers) -> Result<Self> {
        let found = subjects(&experiment, layers)?;
        Self::of(experiment, layers, found)
    }

    /// The same with DreamBench's subjects by their names where the folder of their photos is not there, and with a
    /// stand-in for a folder of photos that is not: enough for a plan.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn without_photos(experiment: Experiment, layers: &Layers) -> Result<Self> {
        let s = &experiment.subjects;
        let named = |name: &str, class: &str, live: bool| Subject {
            name: name.to_owned(),
            class: class.to_owned(),
            token: s.token.clone(),
            live,
            references: Vec::new(),
        };
        let found = match s.source {
            _ if paths::find(&s.path, &layers.folder).is_ok() => subjects(&experiment, layers)?,
            SubjectSource::Stickerbench => subjects(&experiment, layers)?,
            SubjectSource::Folder => vec![named("subject", &s.class, s.live)],
            SubjectSource::Dreambench => {
                let all = SUBJECTS.iter();
                let count = if s.count > 0 { s.count } else { usize::MAX };
                all.take(count)
                    .map(|(name, class)| named(name, class, subject::is_live(class)))
                    .collect()
            }
        };
        Self::of(experiment, layers, found)
    }

    fn of(experiment: Experiment, layers: &Layers, subjects: Vec<Subject>) -> Result<Self> {
        let arms = experiment.training_arms(layers)?;
        if let Some((first, i)) = same_folder(arms.iter().map(|a| a.name.as_str())) {
            let message = format!(
                "`{}` and `{}` would share one folder, so one trajectory\n  mend: names that differ in letters or digits",
                arms[first].name, arms[i].name
            );
            return Err(layers.error(&format!("arm.{i}.name"), &message));
        }
        if let Some((first, i)) = same_folder(subjects.iter().map(|s| s.name.as_str())) {
            return Err(BadInput::new(format!(
                "subjects `{}` and `{}` would share one folder, so one trajectory\n  mend: rename the folder of one of them so that they differ in letters or digits",
                subjects[first].name, subjects[i].name
            )));
        }
        let rules = experiment.selection_rules(&arms);
        Ok(Self {
            evaluations: experiment.sampler.steps,
            experiment,
            arms,
            rules,
            subjects,
        })
    }

    /// Plans the sampler on a model's schedule.
    ///
    /// # Errors
    /// [`BadInput`] if the solver cannot be used with it.
    pub(super) fn plan_sampler(&mut self, schedule: &NoiseSchedule, layers: &Layers) -> Result<()> {
        let plan = self.sampler().plan(schedule);
        let plan = plan.map_err(|e| layers.error("sampler.solver", &e.to_string()))?;
        self.evaluations = plan.steps.len();
        Ok(())
    }

    /// How pictures are drawn.
    pub fn sampler(&self) -> SamplerConfig {
        let s = &self.experiment.sampler;
        SamplerConfig {
            solver: settings::solver(s.solver),
            eta: s.eta,
            steps: s.steps,
            guidance: s.guidance,
            guidance_interval: s.guidance_interval,
            batch: s.batch,
        }
    }

    /// U-Net forwards of one evaluation, on average: guidance needs two.
    pub fn passes(&self) -> f64 {
        self.cost(1) / self.evaluations as f64
    }

    /// U-Net forwards that `pictures` pictures cost.
    pub fn cost(&self, pictures: usize) -> f64 {
        (pictures * self.sampler().passes(self.evaluations)) as f64
    }

    /// The prompt templates of a subject, cut to the experiment's numbers.
    pub fn prompts(&self, subject: &Subject) -> PromptSet {
        let mut set = match self.experiment.subjects.source {
            SubjectSource::Stickerbench => stickerbench::prompts(),
            SubjectSource::Folder | SubjectSource::Dreambench => dreambench(subject.live),
        };
        let cut = |prompts: &mut Vec<String>, n: usize| {
            if n > 0 {
                prompts.truncate(n);
            }
        };
        cut(&mut set.validation, self.experiment.validation.prompts);
        cut(&mut set.test, self.experiment.test.prompts);
        set
    }
}

fn subjects(experiment: &Experiment, layers: &Layers) -> Result<Vec<Subject>> {
    let s = &experiment.subjects;
    let mut found = match s.source {
        SubjectSource::Stickerbench => stickerbench::subjects(s.seed, s.count, 64),
        SubjectSource::Folder => {
            let path = paths::find(&s.path, &layers.folder)
                .map_err(|e| layers.error("subjects.path", &e.to_string()))?;
            let class = (!s.class.is_empty()).then_some(s.class.as_str());
            vec![subject::load_folder(&path, class, &s.token).or_bad_input("subjects.path")?]
        }
        SubjectSource::Dreambench => {
            let path = paths::find(&s.path, &layers.folder)
                .map_err(|e| layers.error("subjects.path", &e.to_string()))?;
            dreambench_subjects(&path, &s.token, s.count)?
        }
    };
    if s.source == SubjectSource::Stickerbench {
        found.iter_mut().for_each(|f| f.token = s.token.clone());
    }
    if s.source == SubjectSource::Folder {
        found.iter_mut().for_each(|f| f.live = s.live);
    }
    if found.is_empty() {
        return Err(layers.error("subjects", "no subject was found"));
    }
    Ok(found)
}

/// The subject folders in `folder` by name, the first `count` of them, 0 for all.
fn dreambench_subjects(folder: &Path, token: &str, count: usize) -> Result<Vec<Subject>> {
    let entries = std::fs::read_dir(folder).or_bad_input(folder.display())?;
    let mut folders: Vec<PathBuf> = entries
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.is_dir())
        .collect();
    folders.sort();
    if count > 0 {
        folders.truncate(count);
    }
    folders
        .iter()
        .map(|f| subject::load_folder(f, None, token).or_bad_input("subjects.path"))
        .collect()
}

/// The first two of `names` that are one folder, on file systems that ignore case too.
fn same_folder<'a>(names: impl Iterator<Item = &'a str>) -> Option<(usize, usize)> {
    let folders: Vec<String> = names.map(|n| folder_name(n).to_lowercase()).collect();
    (0..folders.len()).find_map(|i| {
        let first = folders[..i].iter().position(|f| *f == folders[i])?;
        Some((first, i))
    })
}

#[cfg(test)]
mod tests {
    use super::same_folder;

    #[test]
    fn names_that_are_one_folder_are_found() {
        let of = |names: &[&str]| same_folder(names.iter().copied());
        assert_eq!(of(&["a", "b", "a b", "A-B"]), Some((2, 3)));
        assert_eq!(of(&["a", "b", "ab"]), None);
    }
}
