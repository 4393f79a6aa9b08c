//! A new word of the text encoders, as textual inversion learns it.

use candle_core::Tensor;

/// A token that stands for learned vectors.
#[derive(Clone, Debug)]
pub struct Word {
    /// As prompts write it.
    pub token: String,
    /// Its vectors, `[n, D]`, for each text encoder of the model.
    pub rows: Vec<Tensor>,
}

impl Word {
    /// The words of its vectors, diffusers' `<my-toy>`, `<my-toy>_1`, …: a prompt with the first one reads them all.
    pub fn names(&self) -> Vec<String> {
        let n = self.rows.first().map_or(0, |rows| rows.dims()[0]);
        let name = |i: usize| match i {
            0 => self.token.clone(),
            i => format!("{}_{i}", self.token),
        };
        (0..n).map(name).collect()
    }
}
