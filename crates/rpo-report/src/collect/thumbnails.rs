//! Thumbnails inside the page, within a budget, each with a link to the full picture.

use super::shown::Shown;
use crate::page::data::Picture;
use anyhow::{Context, Result};
use rpo_data::picture;
use rpo_experiment::plan::{Plan, Purpose};
use rpo_experiment::run::Run;
use std::path::{Path, PathBuf};

/// Approximate maximum of bytes of pictures in a page; 30 MB in base64.
const BUDGET: f64 = 22e6;
/// Approximate bytes per pixel of a PNG file.
const BYTES: f64 = 2.0;
/// Sides of thumbnails, largest first.
const SIDES: [u32; 7] = [256, 192, 128, 96, 64, 48, 32];
/// Pictures per cell where all of them would be too many: a reference and three samples.
const FEW: usize = 4;

/// How a page shows a run's pictures.
pub(super) struct Thumbnails {
    root: PathBuf,
    side: u32,
    /// Whether each cell shows only [`FEW`] pictures.
    pub(super) few: bool,
}

impl Thumbnails {
    /// Chooses for the trajectories of a run; `strip`: pictures per validation, `samples`: per test of a cell.
    pub(super) fn of(
        plan: &Plan,
        run: &Run,
        shown: &[Shown],
        strip: usize,
        samples: usize,
    ) -> Self {
        let pictures = |shown: &Shown| {
            let cell = shown.cell;
            let validations = plan.arm(cell).training.steps / plan.validation_interval(cell) + 2;
            let negatives = plan.templates(cell, Purpose::Negatives).len();
            plan.subject(cell).photos + negatives + validations * strip + samples
        };
        let all: usize = shown.iter().map(pictures).sum();
        let first = shown.first().and_then(|one| {
            let reference = one.folder.0.join("references/00.png");
            image::image_dimensions(reference).ok()
        });
        let own = first.map_or(64, |(w, h)| w.max(h));
        let fits = |count: usize, side: u32| {
            let side = f64::from(side.min(own));
            count as f64 * side * side * BYTES <= BUDGET
        };
        // Larger thumbnails of a few pictures show more than small ones of all.
        let few = !fits(all, 96);
        let count = if few { FEW * shown.len() } else { all };
        let side = SIDES.into_iter().find(|side| fits(count, *side));
        Self {
            root: run.path.clone(),
            side: side.unwrap_or(SIDES[SIDES.len() - 1]),
            few,
        }
    }

    /// The note if not all pictures are shown.
    pub(super) fn note(&self) -> Option<String> {
        self.few.then(|| {
            format!("The page shows at most {FEW} pictures of a cell; all of them lie beside it, in trajectories/")
        })
    }

    /// A picture of the run; a grey pixel in place of a removed one.
    ///
    /// # Errors
    /// If a file cannot be read or is no picture, by path.
    pub(super) fn read(&self, path: &Path) -> Result<Picture> {
        if !path.exists() {
            let grey = image::RgbImage::from_pixel(1, 1, image::Rgb([128; 3]));
            return Picture::png(&picture::png_bytes(&grey));
        }
        let named = || path.display().to_string();
        // Only the header: most pictures are small enough already.
        let (w, h) = image::image_dimensions(path).with_context(named)?;
        let scale = f64::from(self.side) / f64::from(w.max(h));
        let bytes = if scale < 1.0 {
            let of = |n: u32| ((f64::from(n) * scale).round() as u32).max(1);
            picture::png_bytes(&picture::resize(&picture::load(path)?, of(w), of(h)))
        } else {
            std::fs::read(path).with_context(named)?
        };
        Picture::linked(&bytes, path.strip_prefix(&self.root).unwrap_or(path))
    }

    /// All PNG files of a folder by name, or the first one.
    ///
    /// # Errors
    /// If a file is no picture, by path.
    pub(super) fn folder(&self, folder: &Path, few: usize) -> Result<Vec<Picture>> {
        let Ok(entries) = std::fs::read_dir(folder) else {
            return Ok(Vec::new());
        };
        let mut paths: Vec<_> = entries
            .flatten()
            .map(|e| e.path())
            .filter(|p| p.extension().is_some_and(|x| x == "png"))
            .collect();
        paths.sort();
        if self.few {
            paths.truncate(few);
        }
        paths.iter().map(|p| self.read(p)).collect()
    }
}

/// `count` indices spread over `0..n`.
pub(super) fn spread(n: usize, count: usize) -> Vec<usize> {
    let count = count.min(n);
    (0..count).map(|i| i * n / count).collect()
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn places_are_spread() {
        assert_eq!(spread(8, 3), [0, 2, 5]);
        assert_eq!(spread(2, 3), [0, 1]);
    }
}
