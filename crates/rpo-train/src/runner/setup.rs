//! Loads everything a run reads, once: model, encoders, subjects; and hashes it, so that a run folder and the cache know their inputs.

use super::draw::Drawer;
use crate::experiment::{Experiment, Layers, SubjectSource, TrainingArm};
use crate::failure::{BadInput, OrBadInput};
use crate::plan::folder_name;
use crate::{files, paths};
use anyhow::Result;
use image::RgbImage;
use rpo_data::picture;
use rpo_data::prompts::{PromptSet, dreambench};
use rpo_data::stickerbench;
use rpo_data::subject::{self, Subject};
use rpo_diffusion::{Pipeline, SamplerConfig};
use rpo_nn::weights::Params;
use rpo_pref::recipe::Preset;
use rpo_reward::Lambda;
use rpo_reward::model::Rewarder;
use rpo_reward::select::{DEFAULT_PATIENCE, Rule};
use std::path::{Path, PathBuf};

/// What a run works with.
pub struct Setup {
    /// The resolved experiment.
    pub experiment: Experiment,
    /// Folder of the experiment file, absolute: relative paths were also looked for from here.
    pub folder: PathBuf,
    /// Its arms, each with its whole recipe.
    pub arms: Vec<TrainingArm>,
    /// Its selection rules.
    pub rules: Vec<Rule>,
    /// Its subjects.
    pub subjects: Vec<Subject>,
    /// The diffusion model with its base U-Net.
    pub pipeline: Pipeline,
    /// The reward's encoder.
    pub rewarder: Rewarder,
    /// Side of the pictures in pixels.
    pub size: u32,
    /// Hash of the base U-Net's weights.
    pub base_weights: String,
    /// Hash of the model's other parts and of the U-Net's configuration.
    pub model_hash: String,
    /// Hash of all inputs: model, encoders, subjects, arms with all presets resolved, kernels' version.
    pub inputs_hash: String,
    /// Folder of the CLIP judge.
    pub clip: PathBuf,
    /// Folder of the ViT judge.
    pub vit: PathBuf,
}

impl Setup {
    /// Loads the inputs of an experiment.
    ///
    /// # Errors
    /// [`BadInput`] naming the file or key.
    pub fn load(experiment: Experiment, layers: &Layers) -> Result<Self> {
        let place = |key: &str, name: &str| {
            paths::find(name, &layers.folder).map_err(|e| layers.error(key, &e.to_string()))
        };
        let arms = experiment.training_arms(layers)?;
        if let Some((first, i)) = same_folder(arms.iter().map(|a| a.name.as_str())) {
            let message = format!(
                "`{}` and `{}` would share one folder, so one trajectory\n  mend: names that differ in letters or digits",
                arms[first].name, arms[i].name
            );
            return Err(layers.error(&format!("arm.{i}.name"), &message));
        }
        let rules = experiment.selection_rules(&arms);
        let model = place("model.path", &experiment.model.path)?;
        let reward = place("encoders.reward", &experiment.encoders.reward)?;
        let clip = place("encoders.clip", &experiment.encoders.clip)?;
        let vit = place("encoders.vit", &experiment.encoders.vit)?;
        let subjects = subjects(&experiment, layers)?;
        if let Some((first, i)) = same_folder(subjects.iter().map(|s| s.name.as_str())) {
            return Err(BadInput::new(format!(
                "subjects `{}` and `{}` would share one folder, so one trajectory\n  mend: rename the folder of one of them so that they differ in letters or digits",
                subjects[first].name, subjects[i].name
            )));
        }
        let pipeline = Pipeline::load(&model).or_bad_input("model")?;
        let shapes = pipeline.unet_params.shapes();
        for (i, arm) in arms.iter().enumerate() {
            let Some(lora) = &arm.lora else { continue };
            let own = experiment.arms.get(i).and_then(|a| a.lora.as_ref());
            let key = match own {
                Some(keys) if keys.contains_key("targets") => format!("arm.{i}.lora.targets"),
                _ => "lora.targets".to_owned(),
            };
            lora.modules(&shapes)
                .map_err(|e| layers.error(&key, &e.to_string()))?;
        }
        let plan = sampler(&experiment).plan(&pipeline.schedule);
        plan.map_err(|e| layers.error("sampler.solver", &e.to_string()))?;
        let rewarder = Rewarder::load(&reward).or_bad_input("reward encoder")?;
        let size = match experiment.model.size {
            0 => pipeline.sample_size as u32,
            size => size,
        };
        let base_weights = fingerprint(&pipeline.unet_params)?;
        let parts = ["vae", "text_encoder", "tokenizer", "scheduler"];
        let unet_config = model.join("unet/config.json");
        let config = std::fs::read(&unet_config).or_bad_input(unet_config.display())?;
        let model_hash = hash_bytes(&[
            hash_folders(&parts.map(|p| model.join(p)))?.as_bytes(),
            &config,
        ]);
        let mut inputs = blake3::Hasher::new();
        inputs.update(format!("kernels {}|", rpo_nn::KERNELS_VERSION).as_bytes());
        // The file names presets; what they stand for may change with the program.
        inputs.update(format!("{arms:?}|").as_bytes());
        inputs
            .update(base_weights.as_bytes())
            .update(model_hash.as_bytes());
        inputs.update(hash_folders(&[reward, clip.clone(), vit.clone()])?.as_bytes());
        for subject in &subjects {
            let words = (&subject.name, &subject.class, &subject.token, subject.live);
            inputs.update(format!("{words:?}").as_bytes());
            for reference in &subject.references {
                let about = (&reference.caption, reference.picture.dimensions());
                inputs.update(format!("{about:?}").as_bytes());
                inputs.update(reference.picture.as_raw());
            }
        }
        let inputs_hash = inputs.finalize().to_hex()[..16].to_owned();
        let folder = std::path::absolute(match layers.folder.as_os_str().is_empty() {
            true => Path::new("."),
            false => &layers.folder,
        })
        .or_bad_input("the experiment's folder")?;
        Ok(Self {
            experiment,
            folder,
            arms,
            rules,
            subjects,
            pipeline,
            rewarder,
            size,
            base_weights,
            model_hash,
            inputs_hash,
            clip,
            vit,
        })
    }

    /// The centre squares of a subject's references at the model's size: what is learned and compared with.
    pub fn squares(&self, subject: &Subject) -> Vec<RgbImage> {
        subject
            .references
            .iter()
            .map(|r| picture::center_square(&r.picture, self.size))
            .collect()
    }

    /// Draws with this model and the experiment's sampler.
    pub fn drawer(&self) -> Drawer<'_> {
        Drawer {
            pipeline: &self.pipeline,
            model: self.model_hash.clone(),
            sampler: sampler(&self.experiment),
            size: self.size,
            cache: Path::new(&self.experiment.output).join("cache"),
        }
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

impl Experiment {
    /// One rule for every mean and λ, then `last`.
    ///
    /// Without `rules.patience` they run all steps if any arm is `paper` or `official`, as those do, else 3 validations.
    pub fn selection_rules(&self, arms: &[TrainingArm]) -> Vec<Rule> {
        let r = &self.rules;
        let whole = |a: &TrainingArm| matches!(a.preset, Preset::Paper | Preset::Official);
        let default = if arms.iter().any(whole) {
            0
        } else {
            DEFAULT_PATIENCE
        };
        let patience = Some(r.patience.unwrap_or(default)).filter(|p| *p > 0);
        let mut rules = Vec::new();
        for mean in &r.mean {
            for lambda in &r.lambda {
                let lambda = Lambda::try_new(*lambda).expect("checked when the file was read");
                let name = format!("{} λ {}", mean.name(), lambda.get());
                rules.push(Rule::best(name, *mean, lambda).with_patience(patience));
            }
        }
        if r.last {
            rules.push(Rule::last("last"));
        }
        rules
    }
}

fn sampler(experiment: &Experiment) -> SamplerConfig {
    let s = &experiment.sampler;
    SamplerConfig {
        solver: s.solver,
        eta: s.eta,
        steps: s.steps,
        guidance: s.guidance,
        batch: s.batch,
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

/// Hash of a network's names, shapes and values.
///
/// # Errors
/// Tensor errors.
pub fn fingerprint(params: &Params) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    for (name, tensor) in params.tensors_sorted()? {
        files::hash_tensor(&mut hasher, &name, &tensor)?;
    }
    Ok(hasher.finalize().to_hex()[..32].to_owned())
}

/// Hash of some byte strings one after the other.
fn hash_bytes(parts: &[&[u8]]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().to_hex()[..32].to_owned()
}

/// Hash of all files of some folders, by name and content.
fn hash_folders(folders: &[PathBuf]) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    for folder in folders {
        let entries = std::fs::read_dir(folder).map_err(|e| {
            BadInput::new(format!(
                "{}: {e}\n  mend: the model folder needs this part",
                folder.display()
            ))
        })?;
        let mut names: Vec<PathBuf> = entries
            .flatten()
            .map(|e| e.path())
            .filter(|p| p.is_file())
            .collect();
        names.sort();
        for path in names {
            hasher.update(path.file_name().unwrap_or_default().as_encoded_bytes());
            let file = std::fs::File::open(&path).or_bad_input(path.display())?;
            hasher.update_reader(file).or_bad_input(path.display())?;
        }
    }
    Ok(hasher.finalize().to_hex()[..32].to_owned())
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
