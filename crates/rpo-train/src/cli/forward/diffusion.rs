//! U-Net, VAE and text encoders on given tensors.

use super::args::ForwardArgs;
use super::inputs::{Inputs, nchw};
use super::results::Results;
use anyhow::Result;
use candle_core::Tensor;
use rpo_diffusion::lora::Lora;
use rpo_diffusion::textual_inversion;
use rpo_diffusion::{
    Conditioning, Pipeline, UNet2DConditionModel, UNetConfig, load_unet, load_vae, xl_conditioning,
};
use rpo_encoders::clip::{ClipTextModel, ClipTextOutput};
use rpo_encoders::tokenizer::ClipTokenizer;
use rpo_files::failure::{BadInput, OrBadInput};
use rpo_files::tell;
use rpo_nn::Place;
use std::path::{Path, PathBuf};

/// The folder of `part`: below a pipeline's folder, or the folder itself where the part was given alone.
pub(super) fn part_folder(model: &Path, part: &str) -> PathBuf {
    let below = model.join(part);
    if below.is_dir() {
        below
    } else {
        model.to_path_buf()
    }
}

/// Side in pixels of pictures whose latents are `h` high, for SDXL's default sizes.
pub(super) fn pixels(latents: &Tensor) -> Result<usize> {
    Ok(8 * latents.dim(1)?)
}

/// `sample`, `timestep`, `encoder_hidden_states` (SDXL: `text_embeds`, `time_ids`) to `sample`; `lora`: a file to apply to the
/// weights, and its scale.
pub(super) fn unet(
    model: &Path,
    lora: Option<(&Path, f64)>,
    inputs: &Inputs,
    place: &Place,
) -> Result<Results> {
    let (config, params) = load_unet(&part_folder(model, "unet"), None).or_bad_input("--model")?;
    let mut params = params.at(place)?;
    if let Some((path, scale)) = lora {
        let lora = read_lora(path, config.layers(0))?;
        let adapters = lora.adapters(&params).or_bad_input("--lora")?;
        adapters.set_scale(scale);
        params = params.with_adapters(&adapters);
    }
    let unet = UNet2DConditionModel::new(&config, &params.root())?;
    let sample = inputs.nhwc("sample")?;
    let timestep = inputs.numbers("timestep")?;
    let text = inputs.conditioning("", pixels(&sample)?)?;
    let out = unet
        .forward(&sample, &timestep, &text)
        .or_bad_input("--inputs")?;
    Ok(Results::from([("sample".into(), nchw(&out)?)]))
}

/// A LoRA, whose notes are told.
fn read_lora(path: &Path, layers_per_block: usize) -> Result<Lora> {
    let lora = Lora::read(path, layers_per_block).or_bad_input("--lora")?;
    for note in &lora.notes {
        tell!("{}: {note}", path.display());
    }
    Ok(lora)
}

/// `sample` `[B, 3, H, W]` in [-1, 1] to `mean` and `logvar`.
pub(super) fn vae_encode(model: &Path, inputs: &Inputs, place: &Place) -> Result<Results> {
    let vae = load_vae(&part_folder(model, "vae"), None, place).or_bad_input("--model")?;
    let name = if inputs.has("pixel_values") {
        "pixel_values"
    } else {
        "sample"
    };
    let posterior = vae.encode(&inputs.nhwc(name)?).or_bad_input("--inputs")?;
    Ok(Results::from([
        ("mean".into(), nchw(&posterior.mean)?),
        ("logvar".into(), nchw(&posterior.logvar)?),
    ]))
}

/// `latents` `[B, L, h, w]`, not scaled, to `sample` `[B, 3, H, W]`.
pub(super) fn vae_decode(model: &Path, inputs: &Inputs, place: &Place) -> Result<Results> {
    let vae = load_vae(&part_folder(model, "vae"), None, place).or_bad_input("--model")?;
    let name = ["latents", "sample", "z"]
        .into_iter()
        .find(|n| inputs.has(n))
        .unwrap_or("latents");
    let picture = vae.decode(&inputs.nhwc(name)?).or_bad_input("--inputs")?;
    Ok(Results::from([("sample".into(), nchw(&picture)?)]))
}

/// Token ids, from the file or from texts, to the states of one text encoder, or of SDXL's two; `lora`: a file to apply to their
/// weights, and its scale.
pub(super) fn text(
    model: &Path,
    lora: Option<(&Path, f64)>,
    inputs: Option<&Inputs>,
    texts: &[String],
    place: &Place,
) -> Result<Results> {
    let mut results = Results::new();
    let lora = lora.map(|lora| text_lora(model, lora)).transpose()?;
    let lora = lora.as_ref().map(|(lora, scale)| (lora, *scale));
    let first = tower((model, 0), lora, inputs, texts, place, &mut results)?;
    let conditioning: Conditioning = if model.join("text_encoder_2").is_dir() {
        let second = tower((model, 1), lora, inputs, texts, place, &mut results)?;
        results.insert(
            "last_hidden_state_2".into(),
            second.last_hidden_state.clone(),
        );
        results.insert("pooler_output_2".into(), second.pooled.clone());
        xl_conditioning(&first, second, 1024).or_bad_input("--model")?
    } else {
        // A text_encoder_2 given alone has a projection; its states for the U-Net are the penultimate ones.
        if let Some(embeds) = &first.text_embeds {
            results.insert("text_embeds".into(), embeds.clone());
        }
        first.last_hidden_state.clone().into()
    };
    results.insert("last_hidden_state".into(), first.last_hidden_state);
    results.insert("penultimate_hidden_state".into(), first.penultimate);
    results.insert("pooler_output".into(), first.pooled);
    results.insert("encoder_hidden_states".into(), conditioning.hidden_states);
    if let Some(added) = conditioning.added {
        results.insert("text_embeds".into(), added.text_embeds);
    }
    Ok(results)
}

/// Texts with the word of an embedding, to the U-Net's conditioning.
pub(super) fn words(args: &ForwardArgs, place: &Place) -> Result<Results> {
    let pipeline = Pipeline::load(&args.model).or_bad_input("--model")?;
    let pipeline = pipeline.at(place)?;
    let words = match &args.embedding {
        Some(path) => textual_inversion::read(path).or_bad_input("--embedding")?,
        None => Vec::new(),
    };
    let texts = match &args.lora {
        None => pipeline.texts().clone(),
        Some(path) => {
            let lora = read_lora(path, pipeline.unet_config.layers(0))?;
            let texts = lora.texts(pipeline.texts(), args.lora_scale);
            texts.or_bad_input("--lora")?
        }
    };
    let texts = texts.with_words(&words);
    let texts = texts.or_bad_input("--embedding")?;
    let conditioning = texts.encode(&args.texts, 1024)?;
    let mut results = Results::from([("encoder_hidden_states".into(), conditioning.hidden_states)]);
    if let Some(added) = conditioning.added {
        results.insert("text_embeds".into(), added.text_embeds);
    }
    Ok(results)
}

/// The LoRA for the text encoders of a whole model, and its scale.
fn text_lora(model: &Path, (path, scale): (&Path, f64)) -> Result<(Lora, f64)> {
    let unet = model.join("unet/config.json");
    if !unet.is_file() || !model.join("text_encoder").is_dir() {
        return Err(BadInput::new(format!(
            "--lora with --part text: {} is no whole model, and a text encoder alone does not tell which one of a LoRA's it is\n  hint: name the model's folder",
            model.display()
        )));
    }
    let config = UNetConfig::load(&unet).or_bad_input("--model")?;
    let lora = read_lora(path, config.layers(0))?;
    let encoders = 1 + usize::from(model.join("text_encoder_2").is_dir());
    lora.check_encoders(encoders).or_bad_input("--lora")?;
    Ok((lora, scale))
}

/// The output of the model's text encoder number `encoder`, from 0.
fn tower(
    (model, encoder): (&Path, usize),
    lora: Option<(&Lora, f64)>,
    inputs: Option<&Inputs>,
    texts: &[String],
    place: &Place,
    results: &mut Results,
) -> Result<ClipTextOutput> {
    let suffix = ["", "_2"][encoder.min(1)];
    let dir = part_folder(model, &format!("text_encoder{suffix}"));
    let encoder = match lora {
        None => ClipTextModel::load(&dir, None, place).or_bad_input("--model")?,
        Some((lora, scale)) => {
            let (config, own) = ClipTextModel::open(&dir, None).or_bad_input("--model")?;
            let adapted = lora.text_encoder(encoder, &own, scale);
            let adapted = adapted.or_bad_input("--lora")?;
            ClipTextModel::new(&config, &adapted.root(), &Place::default())?
        }
    };
    let name = format!("input_ids{suffix}");
    let ids = if texts.is_empty() {
        let inputs = inputs.ok_or_else(|| BadInput::new("--part text needs --inputs or --text"))?;
        inputs.refuse_mask()?;
        // Both tokenizers of SDXL give the same ids up to padding.
        inputs.ids(if inputs.has(&name) {
            &name
        } else {
            "input_ids"
        })?
    } else {
        let tokenizer = ClipTokenizer::load(&model.join(format!("tokenizer{suffix}")))
            .or_bad_input("--model")?;
        let (rows, positions) = (
            encoder.config().vocab_size,
            encoder.config().max_position_embeddings,
        );
        let fit = tokenizer.check_fit(rows, positions, &dir);
        fit.or_bad_input("--model")?;
        let ids = tokenizer.encode_batch(texts)?;
        let flat: Vec<i64> = ids.iter().flatten().map(|id| i64::from(*id)).collect();
        let shape = (ids.len(), tokenizer.max_length());
        results.insert(
            name,
            Tensor::from_vec(flat, shape, &candle_core::Device::Cpu)?,
        );
        ids
    };
    encoder.forward(&ids).or_bad_input("token ids")
}
