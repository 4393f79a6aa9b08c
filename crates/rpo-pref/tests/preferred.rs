//! Which pairs of generated pictures are preferences, against a slow formula without angles; edges, ties, no pair.

use proptest::prelude::*;
use rpo_pref::preferred::{Angle, Preferred, possible, preferred};
use rpo_reward::Score;
use std::collections::BTreeSet;

fn score(image: f64, text: f64) -> Score {
    Score { image, text }
}

/// By the sides of the window's two rays that the difference lies on. `None` too near to one of them, where rounding decides.
fn by_rays(winner: Score, loser: Score, [low, high]: [f64; 2]) -> Option<bool> {
    let (x, y) = (winner.text - loser.text, winner.image - loser.image);
    let beyond = |degrees: f64| {
        let ray = degrees * std::f64::consts::PI / 180.0;
        y * ray.cos() - x * ray.sin()
    };
    let (above, below) = (beyond(low), -beyond(high));
    let near = [above, below].iter().any(|side| side.abs() < 1e-12);
    (!near).then_some(x > 0.0 && y > 0.0 && above > 0.0 && below > 0.0)
}

fn scores() -> impl Strategy<Value = Vec<Score>> {
    // Multiples of a sixteenth, so that ties are common, moved a little in half of them.
    let one = || (0..16u8, prop::bool::ANY, 0.0..0.01f64);
    let number =
        |(n, moved, by): (u8, bool, f64)| f64::from(n) / 16.0 + if moved { by } else { 0.0 };
    let pair = (one(), one()).prop_map(move |(i, t)| score(number(i), number(t)));
    prop::collection::vec(pair, 0..24)
}

proptest! {
    #[test]
    fn pairs_are_those_of_the_slow_formula(
        all in scores(),
        each in 1usize..6,
        low in 0.0..80.0f64,
        wide in 1.0..10.0f64,
    ) {
        let window = [low, low + wide];
        let found = preferred(&all, each, Angle(window));
        let set: BTreeSet<Preferred> = found.iter().copied().collect();
        prop_assert_eq!(set.len(), found.len());
        prop_assert!(found.is_sorted());
        for winner in 0..all.len() {
            for loser in 0..all.len() {
                let prompt = winner / each;
                let there = set.contains(&Preferred { prompt, winner, loser });
                let wanted = match prompt == loser / each {
                    true => by_rays(all[winner], all[loser], window),
                    false => Some(false),
                };
                prop_assert!(wanted.is_none_or(|wanted| wanted == there), "{} {}", winner, loser);
            }
        }
        prop_assert!(found.iter().all(|pair| pair.prompt == pair.winner / each));
    }

    #[test]
    fn a_pair_is_preferred_in_one_direction_at_most(all in scores(), each in 1usize..6) {
        let found = preferred(&all, each, Angle([0.0, 90.0]));
        let unordered: BTreeSet<[usize; 2]> = found
            .iter()
            .map(|p| [p.winner.min(p.loser), p.winner.max(p.loser)])
            .collect();
        prop_assert_eq!(unordered.len(), found.len());
        prop_assert!(found.len() <= possible(all.len().div_ceil(each), each));
    }
}

#[test]
fn the_ends_of_the_window_belong_to_it_and_ties_do_not() {
    let (low, equal) = (score(0.25, 0.25), score(0.5, 0.5));
    // Equal gains: 45 degrees.
    for (window, kept) in [
        ([45.0, 70.0], true),
        ([20.0, 45.0], true),
        ([20.0, 44.9], false),
        ([45.1, 70.0], false),
        ([0.0, 90.0], true),
    ] {
        assert_eq!(Angle(window).prefers(equal, low), kept, "{window:?}");
        assert!(!Angle(window).prefers(low, equal), "{window:?}");
    }
    let whole = Angle([0.0, 90.0]);
    for other in [
        low,
        score(0.5, 0.25),
        score(0.25, 0.5),
        score(0.5, 0.125),
        score(0.125, 0.5),
    ] {
        assert!(!whole.prefers(other, low), "{other:?}");
    }
    // The angle is that of (text, image): much image is steep.
    let steep = score(0.25 + 0.4, 0.25 + 0.1);
    assert!(Angle([70.0, 90.0]).prefers(steep, low) && !Angle::default().prefers(steep, low));
    assert_eq!(Angle::default(), Angle([20.0, 70.0]));
}

#[test]
fn no_pair_is_no_error() {
    let same = [score(0.5, 0.5); 8];
    assert!(preferred(&same, 4, Angle::default()).is_empty());
    assert!(preferred(&[], 4, Angle::default()).is_empty());
    // One picture a prompt, each better than the one before.
    let rising: Vec<Score> = (0..4)
        .map(|i| score(0.1 * f64::from(i), 0.1 * f64::from(i)))
        .collect();
    assert!(preferred(&rising, 1, Angle::default()).is_empty());
    assert_eq!(
        preferred(&rising, 4, Angle::default()).len(),
        possible(1, 4)
    );
    assert_eq!((possible(3, 4), possible(8, 1), possible(0, 4)), (18, 0, 0));
}
