//! Unlimited captioned pictures: drawn on a separate thread, encoded when needed.
//!
//! Picture `i` of a seed is a pure function of both, so a resumed training sees the same pictures as an uninterrupted one.
//! Pictures come in windows of [`Order::window`]; each is used [`Order::uses`] times, in a new order each time, before the next window.

use anyhow::{Context, Result};
use image::RgbImage;
use rpo_data::random;
use rpo_data::stickerbench::world;
use rpo_diffusion::Pipeline;
use std::ops::Range;
use std::sync::mpsc::{Receiver, sync_channel};

/// Pictures encoded per batch.
const CHUNK: usize = 64;

/// A picture as the U-Net is trained on it.
pub struct Sample {
    /// Scaled latents `[h, w, C]`: the mean of the VAE's posterior.
    pub latent: Vec<f32>,
    /// States of its caption `[S, D]`.
    pub text: Vec<f32>,
}

/// The captioned pictures with these numbers; a fraction `looks` of them has its own look.
pub fn pictures(
    seed: u64,
    purpose: &str,
    looks: f64,
    numbers: Range<u64>,
) -> Vec<(RgbImage, String)> {
    numbers
        .map(|i| {
            let mut rng = random::stream(seed, purpose, &[&i.to_string()]);
            let (picture, caption) = world::sample(&mut rng, looks);
            (world::draw(&picture), caption.to_string())
        })
        .collect()
}

/// Encodes captioned pictures.
///
/// # Errors
/// Those of the VAE and of the text encoder.
pub fn encode(pipeline: &Pipeline, pictures: Vec<(RgbImage, String)>) -> Result<Vec<Sample>> {
    let (pictures, captions): (Vec<_>, Vec<_>) = pictures.into_iter().unzip();
    let mut samples = Vec::with_capacity(pictures.len());
    for (pictures, captions) in pictures.chunks(CHUNK).zip(captions.chunks(CHUNK)) {
        let latents = rows(&pipeline.encode_pictures(pictures)?.mean)?;
        let texts = texts(pipeline, captions)?;
        let pairs = latents.into_iter().zip(texts);
        samples.extend(pairs.map(|(latent, text)| Sample { latent, text }));
    }
    Ok(samples)
}

/// States of captions.
///
/// # Errors
/// Those of the text encoder.
pub fn texts(pipeline: &Pipeline, captions: &[String]) -> Result<Vec<Vec<f32>>> {
    let encoded = pipeline.encode_prompts(captions, pipeline.sample_size)?;
    rows(&encoded.hidden_states)
}

fn rows(x: &candle_core::Tensor) -> Result<Vec<Vec<f32>>> {
    let width = x.elem_count() / x.dim(0)?.max(1);
    let all = x.flatten_all()?.to_vec1::<f32>()?;
    Ok(all.chunks(width).map(<[f32]>::to_vec).collect())
}

/// The order in which steps use pictures.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// Seed of the stream.
    pub seed: u64,
    /// Pictures in a window.
    pub window: usize,
    /// Samples per step; divides the window.
    pub batch: usize,
    /// Number of times each picture is used.
    pub uses: usize,
}

impl Order {
    /// The window that step `step` draws from, and its pictures there.
    pub fn of(self, step: u64) -> (u64, Vec<usize>) {
        let steps_of_a_pass = (self.window / self.batch) as u64;
        let (pass, at) = (step / steps_of_a_pass, step % steps_of_a_pass);
        let mut order: Vec<usize> = (0..self.window).collect();
        let mut rng = random::stream(self.seed, "pretraining order", &[&pass.to_string()]);
        random::shuffle(&mut rng, &mut order);
        let from = at as usize * self.batch;
        let window = pass / self.uses as u64;
        (window, order[from..from + self.batch].to_vec())
    }
}

/// The windows of one seed from `first` on, drawn ahead of time.
pub struct Windows {
    drawn: Receiver<Vec<(RgbImage, String)>>,
    next: u64,
    current: Option<(u64, Vec<Sample>)>,
}

impl Windows {
    /// Starts drawing.
    pub fn from(order: Order, looks: f64, first: u64) -> Self {
        let (send, drawn) = sync_channel(1);
        std::thread::spawn(move || {
            let mut w = first;
            // Ends when the receiver is gone.
            let size = order.window as u64;
            let draw = |w| {
                pictures(
                    order.seed,
                    "pretraining picture",
                    looks,
                    w * size..(w + 1) * size,
                )
            };
            while send.send(draw(w)).is_ok() {
                w += 1;
            }
        });
        Self {
            drawn,
            next: first,
            current: None,
        }
    }

    /// The samples of window `w`, which is that of the last call or the next one.
    ///
    /// # Errors
    /// Those of [`encode`].
    pub fn samples(&mut self, pipeline: &Pipeline, w: u64) -> Result<&[Sample]> {
        while self.current.as_ref().is_none_or(|(have, _)| *have < w) {
            let pictures = self.drawn.recv().context("the thread that draws ended")?;
            // A skipped window is not encoded.
            let samples = match self.next {
                next if next == w => encode(pipeline, pictures)?,
                _ => Vec::new(),
            };
            self.current = Some((self.next, samples));
            self.next += 1;
        }
        Ok(self.current.as_ref().map_or(&[], |(_, samples)| samples))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_picture_of_a_window_is_used_as_often_as_asked() {
        let order = Order {
            seed: 3,
            window: 64,
            batch: 16,
            uses: 2,
        };
        let mut used = vec![0; 64];
        let steps = 2 * 64 / 16;
        for step in 0..steps {
            let (w, chosen) = order.of(step);
            assert_eq!((w, chosen.len()), (0, 16));
            chosen.into_iter().for_each(|i| used[i] += 1);
        }
        assert!(used.iter().all(|&n| n == 2));
        assert_eq!(order.of(steps).0, 1);
        assert_ne!(order.of(0).1, order.of(steps / 2).1, "a new order");
    }

    #[test]
    fn a_picture_does_not_depend_on_those_before_it() {
        let all = pictures(1, "test", 0.3, 0..8);
        assert_eq!(pictures(1, "test", 0.3, 7..8)[0], all[7]);
        assert_ne!(pictures(2, "test", 0.3, 7..8)[0].0, all[7].0);
    }
}
