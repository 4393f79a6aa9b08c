//! Streams never change: their first words are pinned, and no two names share a stream.

use proptest::prelude::*;
use rand::RngCore;
use rpo_data::random::{below, between, choose, normal, shuffle, stream, unit};

fn words(seed: u64, purpose: &str, names: &[&str]) -> [u64; 4] {
    let mut rng = stream(seed, purpose, names);
    std::array::from_fn(|_| rng.next_u64())
}

/// If this fails, past runs can no longer be reproduced.
#[test]
fn first_words_are_pinned() {
    let mut rng = stream(0, "", &[]);
    assert_eq!(
        [rng.next_u64(), rng.next_u64()],
        [2106585790607899158, 14042128665243701911]
    );
    let own = words(7, "negatives", &["dog", "a dog in the snow", "3"]);
    assert_eq!(own[..2], [5865904230576745743, 2933164086008005843]);
    let noise = normal(&mut stream(1, "noise", &["dog"]), 4);
    assert_eq!(noise, [1.0783558, 0.91130793, -0.20228599, 0.8934056]);
    let mut order: Vec<u32> = (0..10).collect();
    shuffle(&mut stream(1, "order", &[]), &mut order);
    assert_eq!(order, [9, 5, 1, 7, 8, 0, 2, 6, 3, 4]);
    let mut rng = stream(2, "draws", &[]);
    let draws = (
        below(&mut rng, 1000),
        between(&mut rng, -5, 5),
        unit(&mut rng),
        *choose(&mut rng, &["a", "b", "c"]),
    );
    assert_eq!(draws, (366, -5, 0.298762197179928, "a"));
}

#[test]
fn parts_are_kept_apart() {
    assert_ne!(words(0, "p", &["ab", "c"]), words(0, "p", &["a", "bc"]));
    assert_ne!(words(0, "ab", &["c"]), words(0, "a", &["bc"]));
    assert_ne!(words(0, "p", &["a"]), words(0, "p", &["a", ""]));
    assert_ne!(words(0, "p", &[]), words(1, "p", &[]));
    assert_eq!(words(3, "p", &["a", "b"]), words(3, "p", &["a", "b"]));
}

/// Over 200,000 draws the mean of N(0, 1) is within 4 standard errors of 0 (0.009), its variance of 1 (0.013), and the
/// share of values beyond 1.96 within 0.002 of 5 %.
#[test]
fn normal_is_normal() {
    let draws = normal(&mut stream(5, "normal", &[]), 200_000);
    let n = draws.len() as f64;
    let mean = draws.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
    let variance = draws
        .iter()
        .map(|x| (f64::from(*x) - mean).powi(2))
        .sum::<f64>()
        / n;
    let beyond = draws.iter().filter(|x| x.abs() > 1.96).count() as f64 / n;
    assert!(
        mean.abs() < 0.009 && (variance - 1.0).abs() < 0.013 && (beyond - 0.05).abs() < 0.002,
        "{mean} {variance} {beyond}"
    );
}

#[test]
fn below_is_uniform() {
    let mut rng = stream(6, "uniform", &[]);
    let mut counts = [0i32; 7];
    for _ in 0..70_000 {
        counts[below(&mut rng, 7)] += 1;
    }
    // 4.5 standard deviations of a count of 10,000.
    assert!(
        counts.iter().all(|c| (c - 10_000).abs() < 420),
        "{counts:?}"
    );
}

proptest! {
    #[test]
    fn where_a_name_is_cut_matters(text in "[a-z]{2,12}", at in 0usize..12, other in 0usize..12) {
        let (at, other) = (at % (text.len() + 1), other % (text.len() + 1));
        let cut = |i: usize| { let (a, b) = text.split_at(i); words(0, "p", &[a, b]) };
        prop_assert_eq!(at == other, cut(at) == cut(other));
    }

    #[test]
    fn draws_stay_in_range(seed: u64, n in 1usize..1000, low in -50i32..50, length in 0i32..50) {
        let mut rng = stream(seed, "range", &[]);
        prop_assert!(below(&mut rng, n) < n);
        prop_assert!((low..=low + length).contains(&between(&mut rng, low, low + length)));
        prop_assert!((0.0..1.0).contains(&unit(&mut rng)));
    }

    #[test]
    fn shuffling_loses_nothing(seed: u64, n in 0usize..50) {
        let mut items: Vec<usize> = (0..n).collect();
        shuffle(&mut stream(seed, "order", &[]), &mut items);
        items.sort_unstable();
        prop_assert_eq!(items, (0..n).collect::<Vec<_>>());
    }
}
