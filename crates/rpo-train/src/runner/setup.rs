//! Loads everything a run reads, once: model, encoders, subjects; and hashes it, so that a run folder and the cache know their inputs.

use super::draw::Drawer;
use crate::experiment::{Experiment, Layers, SubjectSource, TrainingArm};
use crate::failure::{BadInput, OrBadInput};
use crate::{files, paths};
use anyhow::Result;
use rpo_data::prompts::{PromptSet, dreambench};
use rpo_data::subject::{self, Subject};
use rpo_data::stickerbench;
use rpo_diffusion::{Pipeline, SamplerConfig};
use rpo_nn::weights::Params;
use rpo_reward::model::Rewarder;
use rpo_reward::select::Rule;
use rpo_reward::Lambda;
use std::path::{Path, PathBuf};

/// What a run works with.
pub struct Setup {
    /// The resolved experiment.
    pub experiment: Experiment,
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
    /// Hash of the model's other parts.
    pub model_hash: String,
    /// Hash of all inputs: model, encoders, references.
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
        let rules = experiment.selection_rules();
        let model = place("model.path", &experiment.model.path)?;
        let reward = place("encoders.reward", &experiment.encoders.reward)?;
        let clip = place("encoders.clip", &experiment.encoders.clip)?;
        let vit = place("encoders.vit", &experiment.encoders.vit)?;
        let subjects = subjects(&experiment, layers)?;
        let pipeline = Pipeline::load(&model).or_bad_input("model")?;
        let rewarder = Rewarder::load(&reward).or_bad_input("reward encoder")?;
        let size = match experiment.model.size {
            0 => pipeline.sample_size as u32,
            size => size,
        };
        let base_weights = fingerprint(&pipeline.unet_params)?;
        let parts = ["vae", "text_encoder", "tokenizer", "scheduler"];
        let model_hash = hash_folders(&parts.map(|p| model.join(p)))?;
        let mut inputs = blake3::Hasher::new();
        inputs.update(base_weights.as_bytes()).update(model_hash.as_bytes());
        inputs.update(hash_folders(&[reward, clip.clone(), vit.clone()])?.as_bytes());
        for subject in &subjects {
            inputs.update(format!("{}|{}|{}", subject.name, subject.class, subject.token).as_bytes());
            for reference in &subject.references {
                inputs.update(reference.picture.as_raw());
            }
        }
        let inputs_hash = inputs.finalize().to_hex()[..16].to_owned();
        Ok(Self {
            experiment,
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

    /// Draws with this model and the experiment's sampler.
    pub fn drawer(&self) -> Drawer<'_> {
        Drawer {
            pipeline: &self.pipeline,
            model: self.model_hash.clone(),
            sampler: self.sampler(),
            size: self.size,
            cache: Path::new(&self.experiment.output).join("cache"),
        }
    }

    fn sampler(&self) -> SamplerConfig {
        let s = &self.experiment.sampler;
        SamplerConfig { solver: s.solver, steps: s.steps, guidance: s.guidance, batch: s.batch }
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
    pub fn selection_rules(&self) -> Vec<Rule> {
        let r = &self.rules;
        let patience = (r.patience > 0).then_some(r.patience);
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
    let mut folders: Vec<PathBuf> =
        entries.flatten().map(|e| e.path()).filter(|p| p.is_dir()).collect();
    folders.sort();
    if count > 0 {
        folders.truncate(count);
    }
    folders
        .iter()
        .map(|f| subject::load_folder(f, None, token).or_bad_input("subjects.path"))
        .collect()
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

/// Hash of all files of some folders, by name and content.
fn hash_folders(folders: &[PathBuf]) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    for folder in folders {
        let entries = std::fs::read_dir(folder)
            .map_err(|e| BadInput::new(format!("{}: {e}\n  mend: the model folder needs this part", folder.display())))?;
        let mut names: Vec<PathBuf> = entries.flatten().map(|e| e.path()).filter(|p| p.is_file()).collect();
        names.sort();
        for path in names {
            hasher.update(path.file_name().unwrap_or_default().as_encoded_bytes());
            let file = std::fs::File::open(&path).or_bad_input(path.display())?;
            hasher.update_reader(file).or_bad_input(path.display())?;
        }
    }
    Ok(hasher.finalize().to_hex()[..32].to_owned())
}
