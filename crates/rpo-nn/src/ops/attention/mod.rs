//! Scaled dot-product attention with several heads.

mod heads;
mod scores;
mod softmax;

use crate::autograd::{Differentiable, Gradient, View, apply3};
use crate::matrix::{Matrix, product};
use crate::parallel;
use crate::scratch;
use candle_core::{Result, Tensor, bail};
use heads::Heads;
use std::sync::OnceLock;

/// Which keys a query may see.
#[derive(Clone, Debug)]
pub enum Mask {
    /// All of them.
    None,
    /// Those at its own position and before; needs as many keys as queries.
    Causal,
    /// Those where this `[B, M]` f32 tensor is not 0.
    Keys(Tensor),
}

/// softmax(Q K^T / sqrt(d)) V per head, for `q` `[B, N, C]` and `k`, `v` `[B, M, C]`, with d = C / `heads`; N and M may be several dimensions; head h owns the
/// channels h d .. (h + 1) d. The result is `[B, N, C]`. The matrix of weights is never stored: the backward pass recomputes it
/// from the logarithm of each row's sum.
///
/// # Errors
/// If the shapes do not fit, `heads` does not divide C, a [`Mask::Keys`] leaves a sample without any key, or a dtype is not f32.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize, mask: &Mask) -> Result<Tensor> {
    let (Some([batch, queries, channels]), Some([kb, keys, kc])) = (tokens(q), tokens(k)) else {
        bail!(
            "attention: q {:?}, k {:?}; expected [B, N, C] and [B, M, C]",
            q.shape(),
            k.shape()
        )
    };
    if v.dims() != k.dims() || kb != batch || kc != channels || keys == 0 {
        bail!(
            "attention: q {:?}, k {:?}, v {:?}; expected [B, N, C], [B, M, C], [B, M, C]",
            q.shape(),
            k.shape(),
            v.shape()
        )
    }
    if heads == 0 || channels % heads != 0 || channels == 0 {
        bail!("attention: {channels} channels do not divide into {heads} heads")
    }
    let visible = match mask {
        Mask::None => Visible::All,
        Mask::Causal if queries == keys => Visible::UpToSelf,
        Mask::Causal => {
            bail!("attention: a causal mask needs as many keys ({keys}) as queries ({queries})")
        }
        Mask::Keys(mask) => Visible::Bias(key_bias(mask, batch, keys)?),
    };
    let heads = Heads {
        batch,
        heads,
        dim: channels / heads,
        queries,
        keys,
    };
    apply3(
        Attention {
            heads,
            visible,
            log_sums: OnceLock::new(),
        },
        q,
        k,
        v,
    )
}

/// Samples, tokens and channels of `[B, .., C]`.
fn tokens(x: &Tensor) -> Option<[usize; 3]> {
    match x.dims() {
        [batch, between @ .., channels] if !between.is_empty() => {
            Some([*batch, between.iter().product(), *channels])
        }
        _ => None,
    }
}

/// 0 where a key is kept and minus infinity where it is not.
fn key_bias(mask: &Tensor, batch: usize, keys: usize) -> Result<Vec<f32>> {
    if mask.dims() != [batch, keys] {
        bail!(
            "attention: key mask {:?}; expected [{batch}, {keys}]",
            mask.shape()
        )
    }
    let mask: Vec<Vec<f32>> = mask.to_vec2()?;
    if let Some(b) = mask
        .iter()
        .position(|row| row.iter().all(|&keep| keep == 0.0))
    {
        bail!("attention: the key mask keeps no key of sample {b}")
    }
    let bias = |keep: f32| if keep == 0.0 { f32::NEG_INFINITY } else { 0.0 };
    Ok(mask.into_iter().flatten().map(bias).collect())
}

enum Visible {
    All,
    UpToSelf,
    /// Added to the scores of every query, `[B, M]`.
    Bias(Vec<f32>),
}

/// Queries and keys of one tile of scores.
const ROWS: usize = 128;
const COLS: usize = 16 * scores::PANEL;

struct Attention {
    heads: Heads,
    visible: Visible,
    /// log sum exp of every row of scores, `[B, heads, N]`, kept from the forward pass.
    log_sums: OnceLock<Vec<f32>>,
}

impl Attention {
    /// Makes the scores (row-major, `cols` columns from key `k0` on, rows from query `q0` on) of what must not be seen -inf.
    fn hide(&self, scores: &mut [f32], image: usize, q0: usize, k0: usize, cols: usize) {
        match &self.visible {
            Visible::All => {}
            Visible::UpToSelf => {
                for (i, row) in (q0..).zip(scores.chunks_exact_mut(cols)) {
                    row[(i + 1).saturating_sub(k0).min(cols)..].fill(f32::NEG_INFINITY);
                }
            }
            Visible::Bias(bias) => {
                let bias = &bias[image * self.heads.keys + k0..][..cols];
                for row in scores.chunks_exact_mut(cols) {
                    crate::ops::rows::add_to(row, bias);
                }
            }
        }
    }

    /// Whether no query before `end` sees any key from `k0` on.
    fn hidden(&self, end: usize, k0: usize) -> bool {
        matches!(self.visible, Visible::UpToSelf) && k0 >= end
    }
}

/// What the backward pass reads.
struct Side<'a> {
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    out: &'a [f32],
    grad: &'a [f32],
}

impl Attention {
    /// Adds dQ `[N, d]`, dK `[M, d]`, dV `[M, d]` of head `bh` to `all`, where they lie one after the other.
    ///
    /// With P the weights and O the result: dV = P^T dO, dS = P (dO V^T - rowsum(dO O)), dQ = dS K / sqrt(d), dK = dS^T Q / sqrt(d).
    fn head_gradients(&self, bh: usize, side: &Side<'_>, log_sums: &[f32], all: &mut [f32]) {
        let Heads {
            heads,
            dim: d,
            queries: n,
            keys: m,
            ..
        } = self.heads;
        all.fill(0.0);
        let (dq, rest) = all.split_at_mut(n * d);
        let (dk, dv) = rest.split_at_mut(m * d);
        let (panel_len, tile) = (scores::packed_len(m, d), n.min(ROWS) * m.min(COLS));
        scratch::with(
            (3 * n + 2 * m) * d + n + 2 * panel_len + 2 * tile,
            |mut buffer| {
                let mut gather = |x: &[f32], len: usize, scale: f32| {
                    let packed = scratch::take(&mut buffer, len * d);
                    self.heads.gather(x, len, bh, 0, scale, packed);
                    &*packed
                };
                let queries = gather(side.q, n, self.heads.scale());
                let (outs, grads) = (gather(side.out, n, 1.0), gather(side.grad, n, 1.0));
                let (keys, values) = (gather(side.k, m, 1.0), gather(side.v, m, 1.0));
                let mut pack = |x: &[f32]| {
                    let panels = scratch::take(&mut buffer, panel_len);
                    scores::pack(x, d, panels);
                    &*panels
                };
                let (key_panels, value_panels) = (pack(keys), pack(values));
                let deltas = scratch::take(&mut buffer, n);
                softmax::row_dots(outs, grads, d, deltas);
                let weights = scratch::take(&mut buffer, tile);
                let slopes = scratch::take(&mut buffer, tile);
                for k0 in (0..m).step_by(COLS) {
                    let cols = (m - k0).min(COLS);
                    for q0 in (0..n).step_by(ROWS) {
                        let rows = (n - q0).min(ROWS);
                        if self.hidden(q0 + rows, k0) {
                            continue;
                        }
                        let (p, ds) = (&mut weights[..rows * cols], &mut slopes[..rows * cols]);
                        let queries = &queries[q0 * d..(q0 + rows) * d];
                        let grads = &grads[q0 * d..(q0 + rows) * d];
                        scores::scores(queries, d, &key_panels[k0 * d..], p, cols);
                        self.hide(p, bh / heads, q0, k0, cols);
                        scores::scores(grads, d, &value_panels[k0 * d..], ds, cols);
                        softmax::slopes(p, ds, cols, &log_sums[q0..], &deltas[q0..]);
                        let (p, ds) = (Matrix::new(p, rows, cols), Matrix::new(ds, rows, cols));
                        let grads = Matrix::new(grads, rows, d);
                        product(&mut dv[k0 * d..], p.t(), grads, true);
                        product(
                            &mut dk[k0 * d..],
                            ds.t(),
                            Matrix::new(queries, rows, d),
                            true,
                        );
                        product(
                            &mut dq[q0 * d..],
                            ds,
                            Matrix::new(&keys[k0 * d..], cols, d),
                            true,
                        );
                    }
                }
            },
        );
        for dq in dq {
            *dq *= self.heads.scale();
        }
    }
}

impl Differentiable<3> for Attention {
    const NAME: &'static str = "attention";

    fn forward(&self, [q, k, v]: [View<'_>; 3]) -> Result<(Vec<f32>, Vec<usize>)> {
        let Heads {
            batch,
            heads,
            dim: d,
            queries: n,
            keys: m,
        } = self.heads;
        let panel_len = scores::packed_len(m, d);
        let panels = parallel::build(batch * heads * panel_len, panel_len, |bh, panels| {
            scratch::with(m * d, |keys| {
                self.heads.gather(k.data, m, bh, 0, 1.0, keys);
                scores::pack(keys, d, panels);
            });
        });
        let values = self.heads.split(v.data, m);
        // Result and log sum of every row, [N, d + 1], so that one chunk holds all that a task writes.
        let len = batch * heads * n * (d + 1);
        let out = parallel::build_images(len, n * (d + 1), ROWS * (d + 1), |bh, at, out| {
            let rows = out.len() / (d + 1);
            scratch::with(rows * (m.min(COLS) + 2 * d), |mut buffer| {
                let queries = scratch::take(&mut buffer, rows * d);
                let result = scratch::take(&mut buffer, rows * d);
                let q0 = at / (d + 1);
                self.heads
                    .gather(q.data, n, bh, q0, self.heads.scale(), queries);
                result.fill(0.0);
                let mut running = vec![softmax::Running::start(); rows];
                for k0 in (0..m)
                    .step_by(COLS)
                    .take_while(|&k0| !self.hidden(q0 + rows, k0))
                {
                    let cols = (m - k0).min(COLS);
                    let scores = &mut buffer[..rows * cols];
                    scores::scores(queries, d, &panels[bh * panel_len + k0 * d..], scores, cols);
                    self.hide(scores, bh / heads, q0, k0, cols);
                    softmax::advance(scores, cols, &mut running, result, d);
                    let values = Matrix::new(&values[(bh * m + k0) * d..], cols, d);
                    product(result, Matrix::new(scores, rows, cols), values, true);
                }
                for ((out, result), running) in out
                    .chunks_exact_mut(d + 1)
                    .zip(result.chunks_exact(d))
                    .zip(&running)
                {
                    for (out, result) in out.iter_mut().zip(result) {
                        *out = result / running.total;
                    }
                    out[d] = running.log_sum();
                }
            });
        });
        let _ = self
            .log_sums
            .set(out.chunks_exact(d + 1).map(|row| row[d]).collect());
        Ok((self.heads.join(&out, n, d + 1), q.dims.to_vec()))
    }

    fn backward(
        &self,
        [q, k, v]: [View<'_>; 3],
        [want_q, want_k, want_v]: [bool; 3],
        out: View<'_>,
        grad: View<'_>,
    ) -> Result<[Gradient; 3]> {
        let Heads {
            batch,
            heads,
            dim: d,
            queries: n,
            keys: m,
        } = self.heads;
        let Some(log_sums) = self.log_sums.get() else {
            bail!("attention: backward without a forward")
        };
        // Gradients of a head: dQ [N, d], dK [M, d], dV [M, d].
        let head = (n + 2 * m) * d;
        let side = Side {
            q: q.data,
            k: k.data,
            v: v.data,
            out: out.data,
            grad: grad.data,
        };
        let all = parallel::build(batch * heads * head, head, |bh, all| {
            self.head_gradients(bh, &side, &log_sums[bh * n..][..n], all);
        });
        let join = |from: usize, len: usize| self.heads.join_parts(&all, head, from * d, len);
        Ok([
            Gradient::when(want_q, || join(0, n)),
            Gradient::when(want_k, || join(n, m)),
            Gradient::when(want_v, || join(n + m, m)),
        ])
    }
}
