//! Rows of a table.

use super::elementwise::accumulate;
use crate::autograd::{Differentiable, Gradient, View, apply1, apply2};
use candle_core::{Result, Tensor, bail};

/// Rows `ids` of `table` `[.., C]`, all dimensions but the last as one, arranged in `shape`: `[shape.., C]`. The gradient of a row
/// used twice is summed.
///
/// # Errors
/// If there are fewer rows than an id asks for, the number of ids is not the product of `shape`, or the dtype is not f32.
pub fn embedding(table: &Tensor, ids: &[u32], shape: &[usize]) -> Result<Tensor> {
    check(rows(table)?, ids, shape)?;
    apply1(
        Embedding {
            ids: ids.to_vec(),
            shape: shape.to_vec(),
        },
        table,
    )
}

/// As [`embedding`], with the rows of `added` `[n, C]` after those of `table` `[V, C]`: ids from V on. A variable `added` gets its
/// gradient without that of the table, which may be a thousand times as large.
///
/// # Errors
/// As [`embedding`]; also if the widths differ.
pub fn embedding_with(
    table: &Tensor,
    added: &Tensor,
    ids: &[u32],
    shape: &[usize],
) -> Result<Tensor> {
    let (&[first, width], &[more, of_added]) = (table.dims(), added.dims()) else {
        bail!(
            "embedding: tables {:?} and {:?}; expected [V, C] and [n, C]",
            table.shape(),
            added.shape()
        )
    };
    if width != of_added {
        bail!("embedding: rows of {width} and added ones of {of_added}")
    }
    check(first + more, ids, shape)?;
    apply2(
        WithAdded(Embedding {
            ids: ids.to_vec(),
            shape: shape.to_vec(),
        }),
        table,
        added,
    )
}

fn rows(table: &Tensor) -> Result<usize> {
    match table.dims() {
        [rows @ .., _] if !rows.is_empty() => Ok(rows.iter().product()),
        _ => bail!("embedding: table {:?}; expected [V, C]", table.shape()),
    }
}

fn check(rows: usize, ids: &[u32], shape: &[usize]) -> Result<()> {
    if shape.iter().product::<usize>() != ids.len() {
        bail!(
            "embedding: {} ids do not fill the shape {shape:?}",
            ids.len()
        )
    }
    if let Some(id) = ids.iter().find(|&&id| id as usize >= rows) {
        bail!("embedding: id {id} in a table of {rows} rows")
    }
    Ok(())
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

/// [`Embedding`] over two tables, one after the other.
pub(crate) struct WithAdded(Embedding);

impl Differentiable<2> for WithAdded {
    const NAME: &'static str = "embedding with added rows";

    fn forward(&self, tables: [View<'_>; 2]) -> Result<(Vec<f32>, Vec<usize>)> {
        let c = tables[0].last();
        let first = tables[0].data.len() / c.max(1);
        let mut y = Vec::with_capacity(self.0.ids.len() * c);
        for &id in &self.0.ids {
            let (table, id) = place(id as usize, first);
            y.extend_from_slice(&tables[table].data[id * c..][..c]);
        }
        let mut dims = self.0.shape.clone();
        dims.push(c);
        Ok((y, dims))
    }

    fn backward(
        &self,
        tables: [View<'_>; 2],
        wanted: [bool; 2],
        _out: View<'_>,
        grad: View<'_>,
    ) -> Result<[Gradient; 2]> {
        let c = tables[0].last();
        let first = tables[0].data.len() / c.max(1);
        let of = |which: usize| {
            Gradient::when(wanted[which], || {
                let mut sum = vec![0f32; tables[which].data.len()];
                for (i, &id) in self.0.ids.iter().enumerate() {
                    let (table, id) = place(id as usize, first);
                    if table == which {
                        accumulate(&mut sum[id * c..][..c], &grad.data[i * c..][..c]);
                    }
                }
                sum
            })
        };
        Ok([of(0), of(1)])
    }
}

/// Which table has a row, and where.
fn place(id: usize, first: usize) -> (usize, usize) {
    match id.checked_sub(first) {
        Some(id) => (1, id),
        None => (0, id),
    }
}
