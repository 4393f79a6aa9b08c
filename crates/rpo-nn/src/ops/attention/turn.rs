//! Rows of channels turned into lanes of queries, and back, in blocks of 4 x 4.

use super::heads::Joined;
use super::tiles::Rows;

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// Block of 4 x 4: row i is read at `from[i]`, column i is written to `to[i]`. Row i is multiplied by `factors[i]`, or column i
/// with `COLUMNS`.
///
/// # Safety
/// 4 elements are readable, writable there.
#[inline(always)]
unsafe fn turn_block<const COLUMNS: bool>(
    from: [*const f32; 4],
    factors: [f32; 4],
    to: [*mut f32; 4],
) {
    // SAFETY: the caller's promise; every x86-64 machine has these instructions.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        let row = |i: usize| {
            let factor = if COLUMNS {
                _mm_loadu_ps(factors.as_ptr())
            } else {
                _mm_set1_ps(factors[i])
            };
            _mm_mul_ps(_mm_loadu_ps(from[i]), factor)
        };
        let rows = [row(0), row(1), row(2), row(3)];
        let low = [
            _mm_unpacklo_ps(rows[0], rows[1]),
            _mm_unpacklo_ps(rows[2], rows[3]),
        ];
        let high = [
            _mm_unpackhi_ps(rows[0], rows[1]),
            _mm_unpackhi_ps(rows[2], rows[3]),
        ];
        _mm_storeu_ps(to[0], _mm_movelh_ps(low[0], low[1]));
        _mm_storeu_ps(to[1], _mm_movehl_ps(low[1], low[0]));
        _mm_storeu_ps(to[2], _mm_movelh_ps(high[0], high[1]));
        _mm_storeu_ps(to[3], _mm_movehl_ps(high[1], high[0]));
    }
    // SAFETY: the caller's promise.
    #[cfg(not(target_arch = "x86_64"))]
    unsafe {
        for (i, from) in from.into_iter().enumerate() {
            for (e, to) in to.into_iter().enumerate() {
                let factor = factors[if COLUMNS { e } else { i }];
                to.add(i).write(*from.add(e) * factor);
            }
        }
    }
}

/// `rows`, row r times `factors[r]`, turned: element e of row r at `e * lanes + r` of `out`; 0 in the lanes beyond the last row.
pub(super) fn to_lanes(rows: Rows<'_>, factors: &[f32], lanes: usize, out: &mut [f32]) {
    let d = rows.width();
    assert!(rows.len() <= lanes && rows.len() <= factors.len() && out.len() >= d * lanes);
    let (whole_rows, whole) = (rows.len() / 4 * 4, d / 4 * 4);
    for r in (0..whole_rows).step_by(4) {
        let from = [0, 1, 2, 3].map(|i| rows.row(r + i).as_ptr());
        let factors = [0, 1, 2, 3].map(|i| factors[r + i]);
        for e in (0..whole).step_by(4) {
            let to = out[e * lanes + r..].as_mut_ptr();
            // SAFETY: e + 4 <= d and r + 4 <= lanes, so all lie within the rows and within `out`.
            unsafe {
                turn_block::<false>(
                    from.map(|row| row.add(e)),
                    factors,
                    [0, 1, 2, 3].map(|i| to.add(i * lanes)),
                );
            }
        }
    }
    for r in 0..rows.len() {
        let done = if r < whole_rows { whole } else { 0 };
        for (e, &x) in rows.row(r).iter().enumerate().skip(done) {
            out[e * lanes + r] = x * factors[r];
        }
    }
    if rows.len() < lanes {
        for out in out[..d * lanes].chunks_exact_mut(lanes) {
            out[rows.len()..].fill(0.0);
        }
    }
}

/// The lanes of `x` as the rows of head `bh` from `first` on, lane r times `factors[r]`; as many as there are factors.
///
/// # Safety
/// Nobody else holds these rows.
pub(super) unsafe fn from_lanes(
    x: &[f32],
    lanes: usize,
    factors: &[f32],
    out: &Joined,
    bh: usize,
    first: usize,
) {
    let (d, rows) = (x.len() / lanes, factors.len());
    assert!(rows <= lanes && d == out.width());
    let (whole_rows, whole) = (rows / 4 * 4, d / 4 * 4);
    for r in (0..whole_rows).step_by(4) {
        let row = |i: usize| {
            // SAFETY: the caller's promise.
            let row = unsafe { out.row(bh, first + r + i) };
            row.as_mut_ptr().cast::<f32>()
        };
        let to = [row(0), row(1), row(2), row(3)];
        let factors = [0, 1, 2, 3].map(|i| factors[r + i]);
        for e in (0..whole).step_by(4) {
            let from = x[e * lanes + r..].as_ptr();
            // SAFETY: e + 4 <= d and r + 4 <= lanes, so all lie within `x` and within the rows.
            unsafe {
                let from = [0, 1, 2, 3].map(|i| from.add(i * lanes));
                turn_block::<true>(from, factors, to.map(|row| row.add(e)));
            }
        }
    }
    for (r, factor) in factors.iter().enumerate() {
        let done = if r < whole_rows { whole } else { 0 };
        // SAFETY: the caller's promise.
        let row = unsafe { out.row(bh, first + r) };
        for (e, out) in row.iter_mut().enumerate().skip(done) {
            out.write(x[e * lanes + r] * factor);
        }
    }
}
