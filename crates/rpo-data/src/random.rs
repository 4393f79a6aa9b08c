//! Named random streams.
//!
//! Every draw in a run belongs to a stream named by the seed, a purpose ("negatives", "validation") and the names of what is
//! drawn (subject, prompt, picture). Resuming, reordering or adding draws changes no other stream.
//! ChaCha8 is specified bit for bit and the draws below use only its 64-bit words, so a stream is the same on every machine
//! and with every version of the `rand` crate.

use rand::RngCore;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// Changing this changes every stream.
const DOMAIN: &[u8] = b"rpo random stream 1";

/// The stream of `seed`, `purpose` and `names`: ChaCha8 keyed by BLAKE3 over the length-prefixed parts.
///
/// The length prefixes make `("ab", "c")` and `("a", "bc")` different streams.
pub fn stream(seed: u64, purpose: &str, names: &[&str]) -> ChaCha8Rng {
    let mut hasher = blake3::Hasher::new();
    hasher.update(DOMAIN);
    hasher.update(&seed.to_le_bytes());
    for part in std::iter::once(&purpose).chain(names) {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    ChaCha8Rng::from_seed(*hasher.finalize().as_bytes())
}

/// `n` draws from N(0, 1), in f64 and rounded to f32.
pub fn normal(rng: &mut impl RngCore, n: usize) -> Vec<f32> {
    (0..n)
        .map(|_| {
            let value: f64 = StandardNormal.sample(rng);
            value as f32
        })
        .collect()
}

/// A uniform draw from `[0, 1)`: the top 53 bits of one word.
pub fn unit(rng: &mut impl RngCore) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// A uniform draw from `[low, high)`.
pub fn uniform(rng: &mut impl RngCore, low: f64, high: f64) -> f64 {
    low + (high - low) * unit(rng)
}

/// A uniform draw from `0..n`, without bias (words beyond the last full multiple of `n` are drawn again).
///
/// # Panics
/// If `n` is 0.
pub fn below(rng: &mut impl RngCore, n: usize) -> usize {
    assert!(n > 0, "a draw from an empty range");
    let n = n as u64;
    let limit = u64::MAX - u64::MAX % n;
    loop {
        let word = rng.next_u64();
        if word < limit {
            return (word % n) as usize;
        }
    }
}

/// A uniform draw from `low..=high`.
///
/// # Panics
/// If `high < low`.
pub fn between(rng: &mut impl RngCore, low: i32, high: i32) -> i32 {
    assert!(low <= high, "a draw from the empty range {low}..={high}");
    low + below(rng, (high - low) as usize + 1) as i32
}

/// One of `items`, uniformly.
///
/// # Panics
/// If `items` is empty.
pub fn choose<'a, T>(rng: &mut impl RngCore, items: &'a [T]) -> &'a T {
    &items[below(rng, items.len())]
}

/// True with probability `p`.
pub fn chance(rng: &mut impl RngCore, p: f64) -> bool {
    unit(rng) < p
}

/// Fisher-Yates: all orders of `items` are equally likely.
pub fn shuffle<T>(rng: &mut impl RngCore, items: &mut [T]) {
    for last in (1..items.len()).rev() {
        items.swap(last, below(rng, last + 1));
    }
}
