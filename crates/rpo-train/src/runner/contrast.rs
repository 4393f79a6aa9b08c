//! The cosine of a text and what an image adapter adds to it: its value for a term, and where its backward pass starts.

use anyhow::{Result, bail};
use candle_core::{DType, Device, Tensor};
use rpo_diffusion::ImageAdapter;
use rpo_nn::Tape;
use rpo_pref::loss::{self, Value};

/// The cosines of B rows.
pub(super) struct Contrast {
    /// What is added, `[B, D]`, recorded by itself: a recording of the U-Net has one result, its prediction.
    added: Tensor,
    cosines: Vec<Value>,
}

impl Contrast {
    /// cos(mean over the tokens of c, f) for texts c `[B, S, D]` and the pictures' embeddings f0, `[B, D]`.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub(super) fn new(
        adapter: &ImageAdapter,
        embeddings: &Tensor,
        text: &Tensor,
        tape: &Tape,
    ) -> Result<Self> {
        let added = tape.record(|| adapter.forward(embeddings))?;
        let means = text.to_dtype(DType::F64)?.mean(1)?.to_vec2::<f64>()?;
        let rows = added.to_dtype(DType::F64)?.to_vec2::<f64>()?;
        if means.len() != rows.len() {
            bail!("{} texts for {} pictures", means.len(), rows.len())
        }
        let cosines = means.iter().zip(&rows);
        Ok(Self {
            cosines: cosines.map(|(c, f)| loss::cosine(c, f)).collect(),
            added,
        })
    }

    /// Of every row.
    pub(super) fn values(&self) -> Vec<f64> {
        self.cosines.iter().map(|cosine| cosine.value).collect()
    }

    /// A number whose gradient in what is added is that of Σ slope · cosine.
    ///
    /// # Errors
    /// Tensor errors.
    pub(super) fn start(&self, slopes: &[f64]) -> Result<Tensor> {
        let rows = self.cosines.iter().zip(slopes);
        let gradient: Vec<f32> = rows
            .flat_map(|(cosine, slope)| cosine.slopes.iter().map(move |s| (s * slope) as f32))
            .collect();
        let gradient = Tensor::from_vec(gradient, self.added.shape(), &Device::Cpu)?;
        Ok((&self.added * gradient)?.sum_all()?)
    }
}
