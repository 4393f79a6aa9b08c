//! The sign-flip permutation test of paired differences.
//!
//! If two rows are exchangeable within a subject, the sign of each difference is a fair coin. p is the share of the 2^n assignments of
//! signs whose sum is as far from 0 as the observed one. No assumption about the differences' distribution; with n subjects p is at
//! least 2 / 2^n, so that fewer than 6 can show nothing at .05.

/// Up to this many differences all assignments are counted; above, [`DRAWS`] of them are drawn.
pub const EXACT: usize = 30;

/// Assignments drawn where there are too many to count.
pub const DRAWS: usize = 100_000;

/// Two-sided p of "the differences are symmetric about 0". `None` for fewer than two, or if one is not finite.
///
/// Up to [`EXACT`] differences every assignment counts: each half's 2^(n/2) sums are sorted, and for each sum of the one the number of
/// fitting sums of the other is found by walking along. Above, signs are drawn from `bits`, 64 at a time, and p is (hits + 1) /
/// ([`DRAWS`] + 1).
///
/// Sums within 1e-12 of the sum of magnitudes count as equal, so that rounding breaks no tie.
#[must_use]
pub fn sign_flip(differences: &[f64], mut bits: impl FnMut() -> u64) -> Option<f64> {
    let n = differences.len();
    if n < 2 || differences.iter().any(|d| !d.is_finite()) {
        return None;
    }
    let observed = differences.iter().sum::<f64>().abs();
    let scale: f64 = differences.iter().map(|d| d.abs()).sum();
    let least = observed - 1e-12 * scale;
    if least <= 0.0 {
        return Some(1.0);
    }
    if n <= EXACT {
        let (a, b) = differences.split_at(n / 2);
        let (a, b) = (sums(a), sums(b));
        let far = 2.0 * pairs_from(&a, &b, least) as f64;
        return Some((far / (a.len() as f64 * b.len() as f64)).min(1.0));
    }
    // Eight signs at a time: the sum of a group for each of its 256 assignments.
    let groups: Vec<[f64; 256]> = differences.chunks(8).map(of_group).collect();
    let mut hits = 0;
    for _ in 0..DRAWS {
        let mut sum = 0.0;
        for words in groups.chunks(8) {
            let word = bits().to_le_bytes();
            sum += words
                .iter()
                .zip(word)
                .map(|(g, byte)| g[byte as usize])
                .sum::<f64>();
        }
        hits += usize::from(sum.abs() >= least);
    }
    Some((hits + 1) as f64 / (DRAWS + 1) as f64)
}

fn of_group(differences: &[f64]) -> [f64; 256] {
    std::array::from_fn(|signs| {
        let signed = differences.iter().enumerate();
        signed
            .map(|(i, d)| if signs >> i & 1 == 0 { *d } else { -d })
            .sum()
    })
}

/// The sums of all assignments of signs, ascending.
fn sums(values: &[f64]) -> Vec<f64> {
    let mut all = vec![0.0];
    for v in values {
        // Two ascending lists, shifted apart, are merged: no sorting is needed.
        let mut merged = Vec::with_capacity(2 * all.len());
        let shift = v.abs();
        let (mut low, mut high) = (0, 0);
        while low < all.len() || high < all.len() {
            let from_low = all.get(low).map(|s| s - shift);
            let from_high = all.get(high).map(|s| s + shift);
            match (from_low, from_high) {
                (Some(l), Some(h)) if l <= h => {
                    merged.push(l);
                    low += 1;
                }
                (Some(l), None) => {
                    merged.push(l);
                    low += 1;
                }
                (_, Some(h)) => {
                    merged.push(h);
                    high += 1;
                }
                (None, None) => break,
            }
        }
        all = merged;
    }
    all
}

/// The number of pairs of `a` and `b`, both ascending, whose sum is at least `least`. The distribution is symmetric: as many are at
/// most `-least`.
fn pairs_from(a: &[f64], b: &[f64], least: f64) -> u64 {
    let mut first = b.len();
    let mut count = 0;
    for x in a {
        while first > 0 && x + b[first - 1] >= least {
            first -= 1;
        }
        count += (b.len() - first) as u64;
    }
    count
}
