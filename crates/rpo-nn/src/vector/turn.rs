//! Transposition of a block.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// Block of 4 x 4: row i is read at `from[i]`, column i is written to `to[i]`. Row i is multiplied by `factors[i]`, or column i
/// with `COLUMNS`.
///
/// # Safety
/// 4 elements are readable, writable there.
#[inline(always)]
pub(crate) unsafe fn turn_block<const COLUMNS: bool>(
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
