//! Channels as lanes: the channels of a head in strips of one or two registers.

use super::heads::Joined;
use super::tiles::{Product, Rows};
use crate::vector::Simd;

/// The channels from `from` on that `width` lanes hold. Of `[len, d]` the strip is the matrix `[len, width]` that lies
/// `from * len` elements behind the first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strip {
    from: usize,
    width: usize,
}

/// Strips of two registers, then at most one each of a whole and a half register.
pub(super) fn cut<S: Simd>(d: usize) -> Vec<Strip> {
    let (one, half) = (S::LANES, <S::Half as Simd>::LANES);
    let mut strips = vec![];
    let mut from = 0;
    while from < d {
        let rest = d - from;
        let width = if rest > 2 * one - half {
            2 * one
        } else if rest > half {
            one
        } else {
            half
        };
        strips.push(Strip { from, width });
        from += width;
    }
    strips
}

/// Lanes of all strips.
pub(super) fn width(strips: &[Strip]) -> usize {
    strips.iter().map(|strip| strip.width).sum()
}

/// `rows` in strips, row r times `factors[r]`; 0 in the lanes beyond the last channel.
pub(super) fn pack(strips: &[Strip], rows: Rows<'_>, factors: &[f32], out: &mut [f32]) {
    for &Strip { from, width } in strips {
        let out = out[from * rows.len()..].chunks_exact_mut(width);
        for ((r, out), factor) in (0..rows.len()).zip(out).zip(factors) {
            let row = &rows.row(r)[from..];
            let count = width.min(row.len());
            for (out, x) in out.iter_mut().zip(row) {
                *out = x * factor;
            }
            out[count..].fill(0.0);
        }
    }
}

/// out += a b from row `at` of `out` on; b and out in strips, with so many rows.
pub(super) fn add_product<S: Simd>(
    s: S,
    strips: &[Strip],
    a: Rows<'_>,
    (b, b_len): (&[f32], usize),
    (out, out_len, at): (&mut [f32], usize, usize),
) {
    for strip in strips {
        let width = strip.width;
        let b = &b[strip.from * b_len..];
        let out = &mut out[strip.from * out_len + at * width..];
        let add = true;
        if width == 2 * S::LANES {
            s.call(Product::<2, false> { a, b, out, add });
        } else if width == S::LANES {
            s.call(Product::<1, false> { a, b, out, add });
        } else {
            s.half().call(Product::<1, false> { a, b, out, add });
        }
    }
}

/// Writes `x` `[len, d]` in strips as head `bh` of `out`.
///
/// # Safety
/// Nobody else writes this head.
pub(super) unsafe fn write(strips: &[Strip], x: &[f32], len: usize, out: &Joined, bh: usize) {
    for r in 0..len {
        // SAFETY: the caller's promise.
        let row = unsafe { out.row(bh, r) };
        for &Strip { from, width } in strips {
            let x = &x[from * len + r * width..][..width];
            for (out, &x) in row[from..].iter_mut().zip(x) {
                out.write(x);
            }
        }
    }
}
