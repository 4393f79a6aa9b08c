//! The reward's encoder and the judges, on pixels and token ids or on picture files and texts.

use super::args::Part;
use super::inputs::Inputs;
use super::results::Results;
use anyhow::Result;
use candle_core::{Device, Tensor};
use image::RgbImage;
use ndarray::Array2;
use rpo_data::picture;
use rpo_encoders::dual::{Architecture, DualEncoder, DualTowers};
use rpo_encoders::tokenizer::TokenBatch;
use rpo_encoders::vit::{VitEncoder, VitModel};
use rpo_files::failure::{BadInput, OrBadInput};
use rpo_nn::Place;
use std::path::{Path, PathBuf};

/// `image_embeds` and `text_embeds`, rows of length 1, and the features before the division.
pub(super) fn run(
    part: Part,
    model: &Path,
    inputs: Option<&Inputs>,
    pictures: &[PathBuf],
    texts: &[String],
    place: &Place,
) -> Result<Results> {
    if inputs.is_none() && pictures.is_empty() && texts.is_empty() {
        return Err(BadInput::new(
            "nothing to encode: give --inputs, --picture or --text",
        ));
    }
    let mut results = Results::new();
    if let Some(inputs) = inputs {
        match part {
            Part::Vit => vit_tensors(model, inputs, place, &mut results)?,
            _ => dual_tensors(part, model, inputs, place, &mut results)?,
        }
    }
    let pictures: Vec<RgbImage> = pictures
        .iter()
        .map(picture::load)
        .collect::<Result<_, _>>()
        .or_bad_input("--picture")?;
    if part == Part::Vit {
        if !texts.is_empty() {
            return Err(BadInput::new("--text: a ViT reads pictures only"));
        }
        if !pictures.is_empty() {
            let vit = VitEncoder::load(model, place).or_bad_input("--model")?;
            results.insert("image_embeds".into(), tensor(vit.embed_images(&pictures)?)?);
        }
    } else if !pictures.is_empty() || !texts.is_empty() {
        let dual = DualEncoder::load(model, place).or_bad_input("--model")?;
        check_architecture(part, dual.architecture(), model)?;
        if !pictures.is_empty() {
            results.insert(
                "image_embeds".into(),
                tensor(dual.embed_images(&pictures)?)?,
            );
        }
        if !texts.is_empty() {
            results.insert("text_embeds".into(), tensor(dual.embed_texts(texts)?)?);
        }
    }
    Ok(results)
}

fn vit_tensors(model: &Path, inputs: &Inputs, place: &Place, results: &mut Results) -> Result<()> {
    let vit = VitModel::load(model, place).or_bad_input("--model")?;
    let states = vit
        .forward(&inputs.nhwc("pixel_values")?)
        .or_bad_input("--inputs")?;
    let class = states.narrow(1, 0, 1)?.squeeze(1)?.contiguous()?;
    results.insert("image_embeds".into(), unit(&class)?);
    results.insert("last_hidden_state".into(), states);
    Ok(())
}

fn dual_tensors(
    part: Part,
    model: &Path,
    inputs: &Inputs,
    place: &Place,
    results: &mut Results,
) -> Result<()> {
    let towers = DualTowers::load(model, place).or_bad_input("--model")?;
    check_architecture(part, towers.architecture(), model)?;
    let mut found = false;
    if inputs.has("pixel_values") {
        found = true;
        let features = towers
            .image_features(&inputs.nhwc("pixel_values")?)
            .or_bad_input("--inputs")?;
        results.insert("image_embeds".into(), unit(&features)?);
        results.insert("image_features".into(), features);
    }
    if inputs.has("input_ids") {
        found = true;
        let ids = inputs.ids("input_ids")?;
        let mask = inputs.mask(&ids)?;
        let features = towers
            .text_features(&TokenBatch { ids, mask })
            .or_bad_input("--inputs")?;
        results.insert("text_embeds".into(), unit(&features)?);
        results.insert("text_features".into(), features);
    }
    if !found {
        // Its error lists the tensors in the file and where the names are documented.
        inputs.raw("pixel_values")?;
    }
    Ok(())
}

fn check_architecture(part: Part, found: Architecture, model: &Path) -> Result<()> {
    let right = match part {
        Part::Align => found == Architecture::Align,
        _ => found == Architecture::Clip,
    };
    if right {
        return Ok(());
    }
    let name = if found == Architecture::Align {
        "align"
    } else {
        "clip"
    };
    Err(BadInput::new(format!(
        "--model {}: this folder holds the other kind of encoder\n  hint: --part {name}",
        model.display()
    )))
}

/// Every row divided by its length.
fn unit(features: &Tensor) -> Result<Tensor> {
    let rows = features.to_vec2::<f32>()?;
    if let Some(row) = rows
        .iter()
        .position(|row| row.iter().any(|x| !x.is_finite()))
    {
        return Err(BadInput::new(format!(
            "--model: the features of input {row} are not finite\n  hint: the weights of this encoder, or the inputs, are damaged or overflow"
        )));
    }
    let norm = features.sqr()?.sum_keepdim(1)?.sqrt()?;
    Ok(features.broadcast_div(&norm)?)
}

fn tensor(rows: Array2<f32>) -> Result<Tensor> {
    let shape = rows.dim();
    Ok(Tensor::from_vec(
        rows.into_raw_vec_and_offset().0,
        shape,
        &Device::Cpu,
    )?)
}
