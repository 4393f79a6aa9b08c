//! Rows of a table.

use super::elementwise::accumulate;
use crate::autograd::{Differentiable, Gradient, View, apply1};
use candle_core::{Result, Tensor, bail};

/// Rows `ids` of `table` `[V, C]`, arranged in `shape`: `[shape.., C]`. The gradient of a row used twice is summed.
///
/// # Errors
/// If an id is not below V, the number of ids is not the product of `shape`, or the dtype is not f32.
pub fn embedding(table: &Tensor, ids: &[u32], shape: &[usize]) -> Result<Tensor> {
    let &[rows, _] = table.dims() else {
        bail!("embedding: table {:?}; expected [V, C]", table.shape())
    };
    if shape.iter().product::<usize>() != ids.len() {
        bail!(
            "embedding: {} ids do not fill the shape {shape:?}",
            ids.len()
        )
    }
    if let Some(id) = ids.iter().find(|&&id| id as usize >= rows) {
        bail!("embedding: id {id} in a table of {rows} rows")
    }
    apply1(
        Embedding {
            ids: ids.to_vec(),
            shape: shape.to_vec(),
        },
        table,
    )
}

pub(crate) struct Embedding {
    ids: Vec<u32>,
    shape: Vec<usize>,
}

impl Differentiable<1> for Embedding {
    const NAME: &'static str = "embedding";

    fn forward(&self, [table]: [View<'_>; 1]) -> Result<(Vec<f32>, Vec<usize>)> {
        let c = table.last();
        let mut y = Vec::with_capacity(self.ids.len() * c);
        for &id in &self.ids {
            y.extend_from_slice(&table.data[id as usize * c..][..c]);
        }
        let mut dims = self.shape.clone();
        dims.push(c);
        Ok((y, dims))
    }

    fn backward(
        &self,
        [table]: [View<'_>; 1],
        [wanted]: [bool; 1],
        _out: View<'_>,
        grad: View<'_>,
    ) -> Result<[Gradient; 1]> {
        Ok([Gradient::when(wanted, || {
            let c = table.last();
            let mut sum = vec![0f32; table.data.len()];
            for (i, &id) in self.ids.iter().enumerate() {
                accumulate(&mut sum[id as usize * c..][..c], &grad.data[i * c..][..c]);
            }
            sum
        })])
    }
}
