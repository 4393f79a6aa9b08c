//! Loads everything a run reads, once: model, encoders, subjects; and hashes it, to identify the inputs of a run folder and the cache.

use super::arms_fit;
use super::class_folders::{self, GivenClass};
use super::draw::Drawer;
use super::family;
use super::image_encoder;
use super::masks;
use super::photos;
use super::settings;
use super::store::Store;
use super::trainable::{self, Base, Shapes, Trainable};
use crate::device::Chosen;
use crate::hub::{Content, Environment};
use crate::memory::Sizes;
use crate::{files, paths};
use anyhow::Result;
use image::RgbImage;
use rpo_data::picture;
use rpo_data::subject::Subject;
use rpo_diffusion::Pipeline;
use rpo_encoders::folder;
use rpo_eval::reward::Rewarder;
use rpo_experiment::Source;
use rpo_experiment::plan::Plan;
use rpo_experiment::{Experiment, Layers, TrainingArm};
use rpo_files::failure::{BadInput, OrBadInput};
use rpo_nn::Place;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::{Path, PathBuf};

/// The loaded inputs of a run.
pub struct Setup {
    /// The experiment with its arms, rules and cells; `setup.arms` is `setup.plan.arms`.
    pub plan: Plan,
    /// The plan's subjects with their photos.
    pub subjects: Vec<Subject>,
    /// By subject, the pictures of its class that are given.
    pub classes: Vec<Option<GivenClass>>,
    /// Folder of the experiment file, absolute: relative paths were also looked for from here.
    pub folder: PathBuf,
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
    /// Hash of all inputs: model, encoders, subjects, arms with presets resolved.
    pub inputs_hash: String,
    /// Hash of the encoders of reward and evaluation.
    pub judges_hash: String,
    /// By subject, the hash of its photos.
    pub references_hashes: BTreeMap<String, String>,
    /// Repositories and commits that the weights are copies of, by key.
    pub sources: BTreeMap<String, Source>,
    /// Folder of the CLIP judge.
    pub clip: PathBuf,
    /// Folder of the ViT judge.
    pub vit: PathBuf,
    /// Folder of the encoder that image adapters read, if an arm has one.
    pub image_encoder: Option<PathBuf>,
    /// Description of the device; `None` is the CPU.
    pub device: Option<String>,
    /// What an arm trains: [`trainable::of`], or another one, for tests.
    pub trains: fn(&TrainingArm) -> Box<dyn Trainable>,
}

impl Deref for Setup {
    type Target = Plan;

    fn deref(&self) -> &Plan {
        &self.plan
    }
}

impl Setup {
    /// Loads the inputs of an experiment.
    ///
    /// # Errors
    /// [`BadInput`] naming the file or key.
    pub fn load(experiment: Experiment, layers: &Layers) -> Result<Self> {
        let mut plan = Plan::of(experiment, layers)?;
        let subjects = photos::read(&plan, layers)?;
        let classes = class_folders::read(&plan, layers)?;
        let experiment = &plan.experiment;
        let variant = experiment.model.variant();
        let environment = Environment::of_process();
        let mut sources = BTreeMap::new();
        let mut place = |key: &str, name: &str, content: Content| -> Result<PathBuf> {
            let variant = content.variant(&experiment.model);
            let pinned = layers.sources.get(key);
            let found =
                paths::find_weights(name, &layers.folder, content, variant, &environment, pinned)
                    .map_err(|e| layers.error(key, &e.to_string()))?;
            sources.extend(found.source.map(|source| (key.to_owned(), source)));
            Ok(found.folder)
        };
        let model = place("model.path", &experiment.model.path, Content::Pipeline)?;
        let encoders = &experiment.encoders;
        let reward = place("encoders.reward", &encoders.reward, Content::Encoder)?;
        let clip = place("encoders.clip", &encoders.clip, Content::Encoder)?;
        let vit = place("encoders.vit", &encoders.vit, Content::Encoder)?;
        let image_encoder = image_encoder::find(&plan.arms, &model, layers, &mut place)?;
        if let Some(variant) = variant {
            let found = folder::weight_files_of(&model.join("unet"), Some(variant));
            if found.is_ok_and(|found| found.variant.as_deref() != Some(variant)) {
                let message = format!(
                    "{} has no weights `{variant}`\n  hint: leave the key away, or name a variant that is there",
                    model.join("unet").display()
                );
                return Err(layers.error("model.variant", &message));
            }
        }
        family::check_judge(experiment, &vit, layers)?;
        let pipeline = Pipeline::load_variant(&model, variant).or_bad_input("model")?;
        family::check_model(experiment, &pipeline.unet_config, layers)?;
        arms_fit::check(&plan, &subjects, &pipeline, layers)?;
        if let Some(encoder) = &image_encoder {
            let rulers = [
                ("encoders.reward", reward.as_path()),
                ("encoders.clip", clip.as_path()),
                ("encoders.vit", vit.as_path()),
            ];
            let width = pipeline.unet_config.cross_attention_dim;
            image_encoder::check(encoder, width, &rulers, layers)?;
        }
        let rewarder = Rewarder::load(&reward, &Place::default()).or_bad_input("reward encoder")?;
        let size = match experiment.model.size {
            0 => pipeline.sample_size as u32,
            size => size,
        };
        let cells = size as usize / pipeline.vae_config.factor();
        masks::check(&plan, &subjects, size, cells, layers)?;
        let solved = settings::sampler(&experiment.sampler).plan(&pipeline.schedule);
        let solved = solved.map_err(|e| layers.error("sampler.solver", &e.to_string()))?;
        plan.evaluations = solved.steps.len();
        let base_weights = files::fingerprint(&pipeline.unet_params)?;
        let parts = [
            "vae",
            "text_encoder",
            "text_encoder_2",
            "tokenizer",
            "tokenizer_2",
            "scheduler",
        ];
        let parts: Vec<PathBuf> = parts
            .iter()
            .map(|p| model.join(p))
            .filter(|p| p.is_dir())
            .collect();
        let unet_config = model.join("unet/config.json");
        let config = std::fs::read(&unet_config).or_bad_input(unet_config.display())?;
        let index = model.join("model_index.json");
        let index = std::fs::read(&index).or_bad_input(index.display())?;
        let model_hash = hash_bytes(&[
            hash_folders(&parts)?.as_bytes(),
            &config,
            &index,
            plan.experiment.model.variant.as_bytes(),
        ]);
        let mut inputs = blake3::Hasher::new();
        // The file names presets, whose contents may change with the program.
        for arm in &plan.arms {
            let meant = TrainingArm {
                training: arm.training.meaning(),
                ..arm.clone()
            };
            inputs.update(serde_json::to_string(&meant)?.as_bytes());
        }
        inputs
            .update(base_weights.as_bytes())
            .update(model_hash.as_bytes());
        let judges_hash = hash_folders(&[reward, clip.clone(), vit.clone()])?;
        inputs.update(judges_hash.as_bytes());
        if let Some(encoder) = &image_encoder {
            inputs.update(hash_folders(std::slice::from_ref(encoder))?.as_bytes());
        }
        // Paths of files do not count, and lists that the subjects' source implies are part of the program.
        if let Some(text) = plan.own_prompts() {
            inputs.update(text.as_bytes());
        }
        let mut references_hashes = BTreeMap::new();
        for (subject, given) in subjects.iter().zip(&classes) {
            let words = (&subject.name, &subject.class, &subject.token, subject.live);
            inputs.update(format!("{words:?}").as_bytes());
            let mut photos = blake3::Hasher::new();
            for reference in &subject.references {
                let size = reference.picture.dimensions();
                let about = format!("{:?}", (&reference.caption, size));
                inputs.update(about.as_bytes());
                inputs.update(reference.picture.as_raw());
                photos.update(format!("{size:?}").as_bytes());
                photos.update(reference.picture.as_raw());
            }
            masks::hash(&plan, subject, &mut inputs);
            class_folders::hash(given.as_ref(), &mut inputs);
            let photos = photos.finalize().to_hex()[..16].to_owned();
            references_hashes.insert(subject.name.clone(), photos);
        }
        let inputs_hash = inputs.finalize().to_hex()[..16].to_owned();
        let folder = std::path::absolute(match layers.folder.as_os_str().is_empty() {
            true => Path::new("."),
            false => &layers.folder,
        })
        .or_bad_input("the experiment's folder")?;
        Ok(Self {
            plan,
            subjects,
            classes,
            folder,
            pipeline,
            rewarder,
            size,
            base_weights,
            model_hash,
            inputs_hash,
            judges_hash,
            references_hashes,
            sources,
            clip,
            vit,
            image_encoder,
            device: None,
            trains: trainable::of,
        })
    }

    /// The same inputs with the diffusion model and the reward's encoder on a device. Hashes are those of the files' values.
    ///
    /// # Errors
    /// Those of the device.
    pub fn at(mut self, chosen: Chosen) -> Result<Self> {
        self.device = chosen.tell();
        let [device, dtype] = chosen.keys;
        let model = &mut self.plan.experiment.model;
        (model.device, model.dtype) = (device, dtype);
        self.pipeline = self.pipeline.at(&chosen.place)?;
        if !chosen.place.is_cpu() {
            let reward = self.rewarder.encoder().folder().to_owned();
            self.rewarder = Rewarder::load(&reward, &chosen.place)?;
        }
        Ok(self)
    }

    /// What an arm trains.
    pub fn trainable(&self, arm: &TrainingArm) -> Box<dyn Trainable> {
        (self.trains)(arm)
    }

    /// Numbers that a checkpoint of an arm holds in one form.
    ///
    /// # Errors
    /// If keys do not fit the model.
    pub fn stored(&self, arm: &TrainingArm) -> Result<usize> {
        let unet = self.pipeline.unet_params.shapes();
        let texts = self.pipeline.texts().configs();
        self.trainable(arm).stored(Shapes {
            unet: &unet,
            texts: &texts,
        })
    }

    /// What it is trained on.
    pub fn base(&self) -> Base<'_> {
        Base {
            pipeline: &self.pipeline,
            weights: &self.base_weights,
        }
    }

    /// Where networks compute.
    pub fn place(&self) -> &Place {
        self.pipeline.unet_params.place()
    }

    /// If the U-Net computes on a GPU: bytes per number there, and its memory in bytes.
    ///
    /// # Errors
    /// Those of the driver.
    pub fn gpu(&self) -> Result<Option<(usize, usize)>> {
        #[cfg(feature = "cuda")]
        {
            let place = self.place();
            let memory = rpo_nn::gpu::memory(place.device())?;
            Ok(memory.map(|m| (place.dtype().size_in_bytes(), m.total as usize)))
        }
        #[cfg(not(feature = "cuda"))]
        Ok(None)
    }

    /// Inputs of the memory estimate.
    ///
    /// # Errors
    /// If a folder is missing.
    pub fn sizes(&self) -> Result<Sizes<'_>> {
        let folders = [
            self.rewarder.encoder().folder(),
            self.clip.as_path(),
            self.vit.as_path(),
        ];
        let of = |folder: &Path| folder::parameters(folder).or_bad_input(folder.display());
        let model = |part: &str| -> Result<usize> {
            let folder = self.pipeline.folder.join(part);
            if folder.is_dir() { of(&folder) } else { Ok(0) }
        };
        Ok(Sizes {
            unet: &self.pipeline.unet_config,
            size: self.size as usize,
            factor: self.pipeline.vae_config.factor(),
            encoders: folders.iter().map(|f| of(f)).sum::<Result<usize>>()?,
            image_encoder: self.image_encoder.as_deref().map_or(Ok(0), of)?,
            text_encoders: model("text_encoder")? + model("text_encoder_2")?,
            texts: self.pipeline.texts().configs(),
            vae: model("vae")?,
        })
    }

    /// The centre squares of a subject's references at the model's size, for training and scoring.
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
            plan: &self.plan,
            pipeline: &self.pipeline,
            model: self.model_hash.clone(),
            sampler: settings::sampler(&self.experiment.sampler),
            device: self.device.clone(),
            size: self.size,
            negative: None,
            store: Store::new(Path::new(&self.experiment.output).join("cache")),
        }
    }
}

/// Hash of a sequence of byte strings.
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
                "{}: {e}\n  hint: the model folder needs this part",
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
