//! Transposition between rows of channels and lanes of queries, in blocks of 4 x 4.

use super::heads::Joined;
use super::tiles::Rows;
use crate::vector::turn_block;

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
