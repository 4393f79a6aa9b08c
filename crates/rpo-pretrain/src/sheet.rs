//! A contact sheet of drawn pictures without captions, so that a viewer can name their content before reading the key.

use crate::saves;
use anyhow::Result;
use candle_core::{Device, Tensor};
use image::{RgbImage, imageops};
use rpo_data::random;
use rpo_data::stickerbench::caption::{Caption, ColourWord};
use rpo_data::stickerbench::scene::Scene;
use rpo_data::stickerbench::sprites::{Accessory, NOUNS};
use rpo_diffusion::{Pipeline, SamplerConfig, Solver, UNet2DConditionModel, sample};
use std::path::Path;

/// Seed of the captions and noise of all sheets and scores.
pub const SEED: u64 = 0;

/// Pictures per sheet.
pub const PICTURES: usize = 64;

const COLUMNS: usize = 8;

/// The caption of the `k`-th picture of `noun`: every fourth has a colour, every fourth an accessory.
pub fn caption(noun: &str, k: usize, rng: &mut impl rand::RngCore) -> Caption {
    let scene = *random::choose(rng, &Scene::ALL);
    let colour = *random::choose(rng, &ColourWord::ALL);
    let accessory = *random::choose(rng, &Accessory::ALL);
    Caption {
        photo: false,
        token: false,
        colour: (k % 4 == 1).then_some(colour),
        pattern: None,
        noun: noun.to_owned(),
        accessory: (k % 4 == 3).then_some(accessory),
        scene: Some(scene),
    }
}

/// Draws one picture per caption: 15 steps of DPM-Solver++(2M), guidance 3, noise named by `purpose` and the picture's number.
///
/// # Errors
/// Those of the networks.
pub fn pictures(
    pipeline: &Pipeline,
    unet: &UNet2DConditionModel,
    captions: &[Caption],
    purpose: &str,
) -> Result<Vec<RgbImage>> {
    let prompts: Vec<String> = captions.iter().map(ToString::to_string).collect();
    let [h, w, c] = pipeline.latent_dims();
    let noise: Vec<f32> = (0..captions.len())
        .flat_map(|i| {
            let mut rng = random::stream(SEED, purpose, &[&i.to_string()]);
            random::normal(&mut rng, h * w * c)
        })
        .collect();
    let config = SamplerConfig {
        solver: Solver::DpmSolverPp2m,
        eta: 0.,
        steps: 15,
        guidance: 3.,
        guidance_interval: None,
        batch: 16,
    };
    let latents = sample(
        unet,
        &pipeline.schedule,
        &config,
        &Tensor::from_vec(noise, (captions.len(), h, w, c), &Device::Cpu)?,
        &pipeline.encode_prompts(&prompts, pipeline.sample_size)?,
        &pipeline.unconditional(pipeline.sample_size)?,
        &mut |_, _| Vec::new(),
        &mut |_| {},
    )?;
    Ok(pipeline.decode(&latents, 16)?)
}

/// Draws the sheet to `path` and its key beside it, `*.txt`.
///
/// # Errors
/// Those of the networks; I/O errors.
pub fn draw(pipeline: &Pipeline, unet: &UNet2DConditionModel, path: &Path) -> Result<()> {
    let mut rng = random::stream(SEED, "sheet captions", &[]);
    let captions: Vec<Caption> = (0..PICTURES)
        .map(|i| caption(NOUNS[i * NOUNS.len() / PICTURES], i, &mut rng))
        .collect();
    let drawn = pictures(pipeline, unet, &captions, "sheet noise")?;
    let key: String = captions
        .iter()
        .enumerate()
        .map(|(i, c)| format!("{:>2}.{} {c}\n", i / COLUMNS + 1, i % COLUMNS + 1))
        .collect();
    saves::write(&path.with_extension("txt"), key.as_bytes())?;
    saves::write(path, &rpo_data::picture::png_bytes(&grid(&drawn)))
}

/// Pictures at twice their size, eight per row.
fn grid(pictures: &[RgbImage]) -> RgbImage {
    let (side, gap) = (128, 4);
    let rows = pictures.len().div_ceil(COLUMNS) as u32;
    let white = image::Rgb([255; 3]);
    let (width, height) = (
        COLUMNS as u32 * (side + gap) + gap,
        rows * (side + gap) + gap,
    );
    let mut sheet = RgbImage::from_pixel(width, height, white);
    for (i, picture) in pictures.iter().enumerate() {
        let large = imageops::resize(picture, side, side, imageops::FilterType::Nearest);
        let at = |k: usize| i64::from(gap + k as u32 * (side + gap));
        imageops::replace(&mut sheet, &large, at(i % COLUMNS), at(i / COLUMNS));
    }
    sheet
}
