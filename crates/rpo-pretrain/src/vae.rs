//! Reconstruction quality of the VAE on pictures with looks.

use anyhow::Result;
use image::RgbImage;
use rpo_data::random;
use rpo_data::stickerbench::scene::Scene;
use rpo_data::stickerbench::world::{self, Picture};
use rpo_data::stickerbench::{SIDE, subjects};
use rpo_diffusion::Pipeline;

/// Number of pictures.
const PICTURES: usize = 150;

/// Peak signal-to-noise ratios of round trips through a VAE, in dB.
#[derive(Clone, Debug, PartialEq)]
pub struct RoundTrips {
    /// Mean over 150 pictures of random subjects with looks.
    pub mean: f64,
    /// Mean over the worst tenth of them.
    pub worst_tenth: f64,
    /// The references of the quickstart's subject.
    pub quickstart: Vec<f64>,
}

/// Peak signal-to-noise ratio of 8-bit pictures in dB: `10 log10(255² / MSE)`.
pub fn psnr(a: &RgbImage, b: &RgbImage) -> f64 {
    let pairs = a.as_raw().iter().zip(b.as_raw());
    let sum: f64 = pairs
        .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
        .sum();
    10. * (255f64.powi(2) * a.as_raw().len() as f64 / sum).log10()
}

/// Encodes and decodes held-out pictures.
///
/// # Errors
/// Those of the VAE.
pub fn round_trips(pipeline: &Pipeline) -> Result<RoundTrips> {
    let decibels = |pictures: &[RgbImage]| -> Result<Vec<f64>> {
        let back = pipeline.decode(&pipeline.encode_pictures(pictures)?.mean, 16)?;
        Ok(pictures
            .iter()
            .zip(&back)
            .map(|(a, b)| psnr(a, b))
            .collect())
    };
    let pictures: Vec<RgbImage> = (0..PICTURES)
        .map(|i| {
            let mut rng = random::stream(crate::sheet::SEED, "round trips", &[&i.to_string()]);
            let mut look = world::any_look(&mut rng);
            while look.tint.is_none() && look.pattern.is_none() {
                look = world::any_look(&mut rng);
            }
            let scene = *random::choose(&mut rng, &Scene::ALL);
            world::draw(&Picture::sample(look, None, scene, &mut rng))
        })
        .collect();
    let mut all = decibels(&pictures)?;
    all.sort_by(f64::total_cmp);
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    let subject = subjects(0, 1, SIDE).swap_remove(0);
    let references: Vec<RgbImage> = subject.references.into_iter().map(|r| r.picture).collect();
    Ok(RoundTrips {
        mean: mean(&all),
        worst_tenth: mean(&all[..PICTURES / 10]),
        quickstart: decibels(&references)?,
    })
}
