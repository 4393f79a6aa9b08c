//! Whether the parts of a model folder are whole and fit each other, from configurations and headers of weights alone.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Result, bail};
use rpo_encoders::clip::{ClipTextConfig, ClipTextModel};
use rpo_encoders::folder;
use rpo_encoders::tokenizer::ClipTokenizer;
use rpo_nn::Place;
use rpo_nn::weights::{Archive, Params};

use super::fits::{same_channels, same_width};
use super::index::Index;
use crate::schedule::NoiseSchedule;
use crate::unet::UNetConfig;
use crate::vae::{AutoencoderKL, VaeConfig};

/// Names and shapes of the tensors of a part.
type Shapes = BTreeMap<String, Vec<usize>>;

/// Names of the VAE's middle attention before diffusers 0.18, and now.
const BEFORE: [(&str, &str); 4] = [
    (".query.", ".to_q."),
    (".key.", ".to_k."),
    (".value.", ".to_v."),
    (".proj_attn.", ".to_out.0."),
];

/// Checks all parts of the model folder `dir` without reading a value: classes, configurations, names and shapes of every
/// tensor, widths of neighbouring parts, and that the text encoders have a row for every token.
///
/// # Errors
/// The first thing that is wrong, by file, tensor and shape.
pub fn check_folder(dir: &Path, variant: Option<&str>) -> Result<()> {
    let index = Index::load(dir)?;
    let unet = check_unet(&dir.join("unet"), variant)?;
    let vae_dir = dir.join("vae");
    let vae = VaeConfig::load(&vae_dir.join("config.json"))?;
    same_channels(dir, &unet, &vae)?;
    let blank = Params::blank("vae");
    AutoencoderKL::new(&vae, &blank.root())?;
    let now = |name: &str| {
        let change = |name: String, (before, now): &(&str, &str)| match name.contains("mid_block.")
        {
            true => name.replace(before, now),
            false => name,
        };
        BEFORE.iter().fold(name.to_owned(), change)
    };
    compare(&vae_dir, variant, &shapes(&blank), &Shapes::new(), now)?;
    let mut width = 0;
    for suffix in ["", "_2"].iter().take(1 + usize::from(index.xl)) {
        width += check_text(dir, suffix, variant)?;
    }
    same_width(dir, width, index, &unet)?;
    NoiseSchedule::load(&dir.join("scheduler/scheduler_config.json"))?;
    Ok(())
}

/// Checks the folder of a U-Net likewise.
///
/// # Errors
/// As [`check_folder`].
pub fn check_unet(dir: &Path, variant: Option<&str>) -> Result<UNetConfig> {
    let config = UNetConfig::load(&dir.join("config.json"))?;
    let wanted = config.shapes()?.into_iter().collect();
    compare(dir, variant, &wanted, &Shapes::new(), str::to_owned)?;
    Ok(config)
}

/// Checks a text encoder and its tokenizer; returns the encoder's width.
fn check_text(model: &Path, suffix: &str, variant: Option<&str>) -> Result<usize> {
    let dir = model.join(format!("text_encoder{suffix}"));
    let config = ClipTextConfig::load(&dir)?;
    let blank = Params::blank("text encoder");
    ClipTextModel::new(&config, &blank.root(), &Place::default())?;
    let mut wanted = shapes(&blank);
    let name = "text_projection.weight".to_owned();
    let projection = Shapes::from([(name, vec![config.projection_dim, config.hidden_size])]);
    let mut may = Shapes::new();
    if suffix.is_empty() {
        may = projection;
    } else {
        wanted.extend(projection);
    }
    let bare = |name: &str| name.strip_prefix("text_model.").unwrap_or(name).to_owned();
    compare(&dir, variant, &wanted, &may, bare)?;
    let words = model.join(format!("tokenizer{suffix}"));
    let tokenizer = ClipTokenizer::load(&words)?;
    tokenizer.check_fit(config.vocab_size, config.max_position_embeddings, &dir)?;
    Ok(config.hidden_size)
}

fn shapes(blank: &Params) -> Shapes {
    blank.shapes().into_iter().collect()
}

/// Compares the weights of `dir` with the tensors that its configuration asks for; `may`: those that may be there. `known` gives
/// the present name of a tensor under an older one.
fn compare(
    dir: &Path,
    variant: Option<&str>,
    wanted: &Shapes,
    may: &Shapes,
    known: impl Fn(&str) -> String,
) -> Result<()> {
    let archive: Archive = folder::open_archive(dir, variant)?;
    let label = archive.label();
    let mut found = BTreeMap::new();
    for name in archive.names() {
        if let Some(other) = found.insert(known(name), name) {
            bail!("{label}: tensors {other} and {name} are one tensor under two names")
        }
    }
    let whole: BTreeMap<String, &str> = archive.buffers().map(|name| (known(name), name)).collect();
    for (name, shape) in wanted {
        let Some(theirs) = found.get(name) else {
            if whole.contains_key(name) {
                bail!(
                    "{label}: tensor {name} holds whole numbers, weights are floating-point numbers"
                )
            }
            bail!("{label}: tensor {name} {shape:?} is missing")
        };
        let has = archive.shape(theirs).unwrap_or_default();
        if has != shape.as_slice() {
            bail!(
                "{label}: tensor {theirs} has shape {has:?}, the configuration asks for {shape:?}"
            )
        }
    }
    for (name, theirs) in &found {
        let has = archive.shape(theirs).unwrap_or_default();
        match may.get(name) {
            Some(shape) if has != shape.as_slice() => bail!(
                "{label}: tensor {theirs} has shape {has:?}, the configuration asks for {shape:?}"
            ),
            None if !wanted.contains_key(name) => bail!(
                "{label}: tensor {theirs} has no place in {}: the two files must come from one model",
                dir.join("config.json").display()
            ),
            _ => {}
        }
    }
    Ok(())
}
