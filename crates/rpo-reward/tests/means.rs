//! The means: the paper's worked example, limits, order, monotonicity, and serde.

use proptest::prelude::*;
use rpo_reward::{Lambda, Mean, Score, mean_reward};

const MEANS: [Mean; 3] = [Mean::Harmonic, Mean::Arithmetic, Mean::Geometric];

fn lambda(value: f64) -> Lambda {
    Lambda::try_new(value).unwrap()
}

fn score(image: f64, text: f64) -> Score {
    Score::new(image, text).unwrap()
}

#[test]
fn the_papers_worked_example() {
    let (lopsided, balanced) = (score(0.9, 0.01), score(0.7, 0.21));
    let harmonic = |s| Mean::Harmonic.reward(s, Lambda::HALF);
    assert!((harmonic(lopsided) - 0.01978).abs() < 5e-6);
    assert!((harmonic(balanced) - 0.32308).abs() < 5e-6);
    for s in [lopsided, balanced] {
        assert!((Mean::Arithmetic.reward(s, Lambda::HALF) - 0.455).abs() < 1e-15);
    }
}

#[test]
fn values_worked_by_hand() {
    // (mean, image, text, lambda, reward)
    for (mean, image, text, weight, expected) in [
        (Mean::Harmonic, 0.5, 1.0, 0.5, 2.0 / 3.0),
        (Mean::Harmonic, 0.25, 0.75, 0.25, 0.5), // 1 / (1 + 1)
        (Mean::Arithmetic, 0.2, 0.6, 0.25, 0.5),
        (Mean::Geometric, 0.25, 1.0, 0.5, 0.5),
        (Mean::Harmonic, 0.0, 1.0, 0.5, 0.0),
        (Mean::Harmonic, 1.0, 0.0, 0.5, 0.0),
        (Mean::Harmonic, 0.0, 0.0, 0.5, 0.0),
        (Mean::Geometric, 0.0, 1.0, 0.5, 0.0),
        (Mean::Arithmetic, 0.0, 1.0, 0.5, 0.5),
    ] {
        let reward = mean.reward(score(image, text), lambda(weight));
        assert!(
            (reward - expected).abs() < 1e-15,
            "{mean} of ({image}, {text}) at {weight}: {reward}, not {expected}"
        );
    }
}

#[test]
fn the_reward_of_a_set_is_the_mean_of_rewards_not_of_averages() {
    let scores = [score(0.9, 0.01), score(0.1, 0.99)];
    let reward = mean_reward(&scores, Mean::Harmonic, Lambda::HALF);
    let by_picture = (1.0 / (0.5 / 0.9 + 0.5 / 0.01) + 1.0 / (0.5 / 0.1 + 0.5 / 0.99)) / 2.0;
    assert!((reward - by_picture).abs() < 1e-15);
    // The averages are (.5, .5), whose harmonic mean is .5.
    assert!(reward < 0.11);
}

#[test]
fn lambda_is_a_number_between_0_and_1() {
    for bad in [-1e-9, 1.0 + 1e-9, f64::NAN, f64::INFINITY] {
        let message = Lambda::try_new(bad).unwrap_err().to_string();
        assert!(message.contains("0..=1"), "{message}");
    }
    assert_eq!(serde_json::from_str::<Lambda>("0.3").unwrap().get(), 0.3);
    assert_eq!(serde_json::from_str::<Lambda>("1").unwrap(), Lambda::IMAGE);
    assert_eq!(serde_json::to_string(&lambda(0.3)).unwrap(), "0.3");
    assert!(
        serde_json::from_str::<Lambda>("1.5")
            .unwrap_err()
            .to_string()
            .contains("lambda = 1.5")
    );
    assert_eq!(
        serde_json::to_string(&Mean::Harmonic).unwrap(),
        "\"harmonic\""
    );
}

#[test]
fn the_grid_is_the_decimals_themselves() {
    let grid: Vec<f64> = Lambda::grid().map(Lambda::get).collect();
    assert_eq!(grid.len(), 21);
    for decimal in [0.0, 0.05, 0.3, 0.35, 0.5, 0.7, 0.95, 1.0] {
        assert!(grid.contains(&decimal), "{decimal}");
    }
}

#[test]
fn scores_out_of_range_are_named() {
    let message = Score::new(f64::NAN, 0.5).unwrap_err().to_string();
    assert!(message.contains("image score is NaN"), "{message}");
    let message = Score::new(0.5, 1.1).unwrap_err().to_string();
    assert!(message.contains("text score is 1.1"), "{message}");
}

proptest! {
    #[test]
    fn means_lie_between_the_scores_and_in_order(i in 0.0..=1.0, t in 0.0..=1.0, l in 0.0..=1.0) {
        let (s, l): (Score, Lambda) = (score(i, t), lambda(l));
        let [h, a, g] = MEANS.map(|mean| mean.reward(s, l));
        for reward in [h, a, g] {
            prop_assert!(reward >= f64::min(i, t) - 1e-15 && reward <= f64::max(i, t) + 1e-15);
        }
        prop_assert!(h <= g + 1e-15 && g <= a + 1e-15, "H {} G {} A {}", h, g, a);
    }

    #[test]
    fn means_rise_with_each_score(i in 0.0..=1.0, t in 0.0..=1.0, more in 0.0..=1.0, l in 0.0..=1.0) {
        let l = lambda(l);
        let (i2, t2): (f64, f64) = (i + more * (1.0 - i), t + more * (1.0 - t));
        for mean in MEANS {
            let reward = mean.reward(score(i, t), l);
            prop_assert!(mean.reward(score(i2.min(1.0), t), l) >= reward - 1e-15);
            prop_assert!(mean.reward(score(i, t2.min(1.0)), l) >= reward - 1e-15);
        }
    }

    #[test]
    fn means_move_towards_the_image_with_lambda(i in 0.0..=1.0, t in 0.0..=1.0, a in 0.0..=1.0, b in 0.0..=1.0) {
        let (low, high): (f64, f64) = if a < b { (a, b) } else { (b, a) };
        for mean in MEANS {
            let gain = mean.reward(score(i, t), lambda(high)) - mean.reward(score(i, t), lambda(low));
            let towards = if i >= t { gain } else { -gain };
            prop_assert!(towards >= -1e-15, "{} moved by {}", mean, gain);
        }
    }

    #[test]
    fn a_weight_of_zero_ignores_its_score(x in 0.0..=1.0, other in prop::sample::select(vec![0.0, 0.5, 1.0, f64::NAN])) {
        for mean in MEANS {
            prop_assert_eq!(mean.reward(Score { image: other, text: x }, Lambda::TEXT), x);
            prop_assert_eq!(mean.reward(Score { image: x, text: other }, Lambda::IMAGE), x);
        }
    }

    #[test]
    fn means_reach_their_ends_continuously(i in 0.05..=1.0, t in 0.05..=1.0) {
        for mean in MEANS {
            prop_assert!((mean.reward(score(i, t), lambda(1e-9)) - t).abs() < 1e-6);
            prop_assert!((mean.reward(score(i, t), lambda(1.0 - 1e-9)) - i).abs() < 1e-6);
        }
    }

    #[test]
    fn swapping_the_scores_swaps_the_weights(i in 0.0..=1.0, t in 0.0..=1.0, l in 0.0..=1.0) {
        for mean in MEANS {
            let swapped = mean.reward(score(t, i), lambda(1.0 - l));
            prop_assert!((mean.reward(score(i, t), lambda(l)) - swapped).abs() < 1e-12);
        }
    }

    #[test]
    fn the_order_of_pictures_does_not_matter(
        pairs in prop::collection::vec((0.0..=1.0, 0.0..=1.0), 1..12), l in 0.0..=1.0, shift in 0usize..12
    ) {
        let scores: Vec<Score> = pairs.into_iter().map(|(i, t)| score(i, t)).collect();
        let mut other = scores.clone();
        other.rotate_left(shift % scores.len());
        for mean in MEANS {
            let difference = mean_reward(&scores, mean, lambda(l)) - mean_reward(&other, mean, lambda(l));
            prop_assert!(difference.abs() < 1e-14);
        }
    }
}
