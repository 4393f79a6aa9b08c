//! `rpo-train check FILE`: what would be run, and what it costs.

mod print;

use super::experiment_args::ExperimentArgs;
use crate::device;
use crate::hub::{self, Environment};
use crate::memory::Sizes;
use crate::paths;
use crate::runner::{class_folders, photos, setup::Setup, test_pictures::Judges};
use anyhow::Result;
use print::{Photos, print};
use rpo_diffusion::UNetConfig;
use rpo_encoders::clip::ClipTextConfig;
use rpo_experiment::plan::Plan;
use rpo_experiment::presets::{self, Preset};
use rpo_experiment::{Experiment, Layers, SubjectSource};
use rpo_files::say;

/// Loads all inputs and prints the plan. Where the weights of a preset are missing, prints the plan from its configuration.
pub(super) fn check(file: &ExperimentArgs) -> Result<()> {
    let (experiment, layers) = file.read()?;
    for change in &layers.changes {
        say!("changed    {change}");
    }
    let preset = presets::find(&experiment.model.preset);
    let absent = absent(&experiment, &layers);
    if let (Some(preset), false) = (preset, absent.is_empty()) {
        let plan = Plan::of(experiment, &layers)?;
        let config = UNetConfig::from_json(preset.unet, preset.name)?;
        let here = !absent.iter().any(|a| a.starts_with("subject"));
        let (mut subjects, mut classes) = (None, Vec::new());
        if here {
            subjects = Some(photos::read(&plan, &layers)?);
            classes = class_folders::read(&plan, &layers)?;
        }
        let photos = subjects.as_ref().map(|subjects| Photos {
            subjects,
            classes: &classes,
        });
        print(&plan, &planned(&plan, preset, &config), photos, None)?;
        say!("every key is known; not here yet: {}", absent.join(", "));
        return Ok(());
    }
    let setup = Setup::load(experiment, &layers)?;
    Judges::load(&setup)?;
    print(
        &setup,
        &setup.sizes()?,
        Some(Photos {
            subjects: &setup.subjects,
            classes: &setup.classes,
        }),
        Some(&setup.pipeline),
    )?;
    say!("every key is known and every input was found");
    if let Err(e) = device::open(
        &setup.experiment.model.device,
        &setup.experiment.model.dtype,
    ) {
        say!("here it would not start: {e}");
    }
    Ok(())
}

/// The inputs that are missing on this machine, as `key = value`.
fn absent(e: &Experiment, layers: &Layers) -> Vec<String> {
    // Planning downloads nothing.
    let environment = Environment {
        offline: true,
        ..Environment::of_process()
    };
    let weights = [
        ("model.path", &e.model.path, hub::Content::Pipeline),
        ("encoders.reward", &e.encoders.reward, hub::Content::Encoder),
        ("encoders.clip", &e.encoders.clip, hub::Content::Encoder),
        ("encoders.vit", &e.encoders.vit, hub::Content::Encoder),
    ];
    let image_encoder = e.image_adapter.as_ref().map(|keys| &keys.encoder);
    let image_encoder = image_encoder
        .filter(|name| !name.is_empty())
        .map(|name| ("image_adapter.encoder", name, hub::Content::Encoder));
    let mut absent: Vec<(&str, &str)> = Vec::new();
    for (key, name, content) in weights.into_iter().chain(image_encoder) {
        let variant = content.variant(&e.model);
        let pinned = layers.sources.get(key);
        let found =
            paths::find_weights(name, &layers.folder, content, variant, &environment, pinned);
        if found.is_err() {
            absent.push((key, name));
        }
    }
    let class = [("subjects.class_folder", &e.subjects.class_folder)].into_iter();
    let own = e.own_subjects.iter();
    let classes = class.chain(own.map(|own| ("subject.class_folder", &own.class_folder)));
    let classes = classes.filter(|(_, path)| !path.is_empty());
    let one = [("subjects.path", &e.subjects.path)];
    let own = e.own_subjects.iter().map(|own| ("subject.path", &own.path));
    let photos: Vec<_> = match (e.subjects.source, e.own_subjects.is_empty()) {
        (SubjectSource::Stickerbench, _) => Vec::new(),
        (_, true) => one.to_vec(),
        (_, false) => own.collect(),
    };
    for (key, path) in photos.into_iter().chain(classes) {
        if paths::find(path, &layers.folder).is_err() {
            absent.push((key, path));
        }
    }
    let absent = absent.into_iter();
    absent
        .map(|(key, name)| format!("{key} = {name:?}"))
        .collect()
}

/// ALIGN with its running statistics, CLIP ViT-B/32 and DINO ViT-S/16, which all presets name, as transformers counts them.
const ENCODERS: usize = 172_423_441 + 151_277_313 + 21_665_664;

/// CLIP ViT-L/14, as wide as the texts of Stable Diffusion 1.5.
const IMAGE_ENCODER: usize = 427_616_513;

/// What the preset says about a model whose weights are missing.
fn planned<'a>(plan: &Plan, preset: &Preset, unet: &'a UNetConfig) -> Sizes<'a> {
    let size = match plan.experiment.model.size {
        0 => unet.sample_size.unwrap_or(64) * 8,
        size => size as usize,
    };
    Sizes {
        unet,
        size,
        factor: 8,
        encoders: ENCODERS,
        image_encoder: IMAGE_ENCODER,
        text_encoders: preset.text_encoders,
        texts: texts_of(unet),
        vae: preset.vae,
    }
}

/// The text encoders that Stable Diffusion's U-Nets were trained with, by the width of the states that they take.
fn texts_of(unet: &UNetConfig) -> Vec<ClipTextConfig> {
    let of = |width: usize, layers: usize| ClipTextConfig {
        hidden_size: width,
        intermediate_size: 4 * width,
        num_hidden_layers: layers,
        num_attention_heads: width / 64,
        projection_dim: width,
        ..ClipTextConfig::default()
    };
    match unet.cross_attention_dim {
        768 => vec![of(768, 12)],
        1024 => vec![of(1024, 23)],
        2048 => vec![of(768, 12), of(1280, 32)],
        _ => Vec::new(),
    }
}
