//! Labels and pairs: the Bradley-Terry model, and which pictures are paired.

#[allow(dead_code, reason = "labels need no more of it than the sigmoid")]
mod oracle;

use std::collections::BTreeMap;

use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rpo_pref::labels::{label, probability};
use rpo_pref::{LabelKind, LabelReward, Pair, PairSampler, Pairs};

fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

proptest! {
    #[test]
    fn probabilities_are_bradley_terrys(i in 0.0..=1.0f64, j in 0.0..=1.0f64, tau in 0.001..10.0f64) {
        let p = probability(i, j, tau);
        prop_assert!((0.0..=1.0).contains(&p));
        prop_assert!((p + probability(j, i, tau) - 1.0).abs() < 1e-15);
        prop_assert!((p - oracle::sigmoid((i - j) / tau)).abs() < 1e-14);
        // A smaller τ makes a label more certain and never flips it.
        prop_assert!((probability(i, j, tau / 2.0) - 0.5).abs() >= (p - 0.5).abs() - 1e-15);
        prop_assert!((p - 0.5) * (i - j) >= 0.0);
    }

    #[test]
    fn probabilities_rise_with_the_reference_and_fall_with_the_generated(
        i in 0.0..=1.0f64, j in 0.0..=1.0f64, more in 0.0..1.0f64
    ) {
        prop_assert!(probability(i + more, j, 1.0) >= probability(i, j, 1.0));
        prop_assert!(probability(i, j + more, 1.0) <= probability(i, j, 1.0));
    }

    #[test]
    fn every_index_of_a_pair_exists(
        pairs in prop::sample::select(vec![Pairs::Uniform, Pairs::Official]),
        references in 1usize..12, prompts in 1usize..9, negatives in 1usize..6, seed: u64
    ) {
        let sampler = PairSampler::new(pairs, references, prompts, negatives).unwrap();
        let pair = sampler.draw(&mut rng(seed));
        for reward in [LabelReward::Pair, LabelReward::FirstOfPrompt] {
            let compared = reward.compared(pair, references);
            for p in [pair, compared] {
                prop_assert!(p.reference < references && p.prompt < prompts && p.picture < negatives);
            }
            prop_assert_eq!(compared.prompt, pair.prompt);
        }
    }
}

#[test]
fn equal_rewards_are_a_coin_and_far_ones_are_certain() {
    assert_eq!(probability(0.4, 0.4, 1.0), 0.5);
    assert_eq!(probability(1e4, 0.0, 1.0), 1.0);
    assert_eq!(probability(0.0, 1e4, 1.0), 0.0);
}

#[test]
fn sampled_labels_have_the_expected_ones_as_their_mean() {
    let mut rng = rng(7);
    for p in [0.0, 0.3, 0.525, 1.0] {
        assert_eq!(label(LabelKind::Expected, p, &mut rng), p);
        let n = 20_000;
        let mut sum = 0.0;
        for _ in 0..n {
            let y = label(LabelKind::Sampled, p, &mut rng);
            assert!(y == 0.0 || y == 1.0);
            sum += y;
        }
        // Five standard deviations of the mean of n coins.
        assert!(
            (sum / f64::from(n) - p).abs() <= 5.0 * (p * (1.0 - p) / f64::from(n)).sqrt(),
            "{p}: {sum}"
        );
    }
}

#[test]
fn uniform_pairs_are_all_pairs() {
    let sampler = PairSampler::new(Pairs::Uniform, 5, 8, 4).unwrap();
    assert_eq!(sampler.count(), 160);
    let all: std::collections::BTreeSet<Pair> = (0..160).map(|i| sampler.pair(i)).collect();
    assert_eq!(all.len(), 160);
    let mut rng = rng(1);
    let mut counts: BTreeMap<Pair, usize> = BTreeMap::new();
    for _ in 0..32_000 {
        *counts.entry(sampler.draw(&mut rng)).or_default() += 1;
    }
    // 200 draws per pair; six standard deviations.
    assert_eq!(counts.len(), 160);
    assert!(counts.values().all(|&n| n.abs_diff(200) < 85), "{counts:?}");
}

#[test]
fn official_pairs_are_as_many_as_references() {
    let sampler = PairSampler::new(Pairs::Official, 5, 8, 16).unwrap();
    assert_eq!(sampler.count(), 5);
    let mut rng = rng(2);
    for _ in 0..100 {
        let Pair {
            reference,
            prompt,
            picture,
        } = sampler.draw(&mut rng);
        assert!(reference < 5 && prompt == reference && picture == reference);
    }
    // Nine references and eight prompts: the ninth is paired with the first prompt.
    let sampler = PairSampler::new(Pairs::Official, 9, 8, 16).unwrap();
    let ninth = sampler.pair(8);
    assert_eq!(
        ninth,
        Pair {
            reference: 8,
            prompt: 0,
            picture: 8
        }
    );
    // Its label comes from reference 0 and picture 0.
    assert_eq!(
        LabelReward::FirstOfPrompt.compared(ninth, 9),
        Pair {
            reference: 0,
            prompt: 0,
            picture: 0
        }
    );
    assert_eq!(LabelReward::Pair.compared(ninth, 9), ninth);
}

#[test]
fn a_subject_without_pictures_is_refused() {
    let error = PairSampler::new(Pairs::Uniform, 0, 8, 4)
        .unwrap_err()
        .to_string();
    assert!(error.contains("0 references"), "{error}");
    assert!(PairSampler::new(Pairs::Uniform, 5, 0, 4).is_err());
    assert!(PairSampler::new(Pairs::Official, 5, 8, 0).is_err());
}
