//! Properties of any rule on any trajectory.

use proptest::prelude::*;
use rpo_reward::select::{Decision, Kind, Rule, Validation, decide, kept, winners_on_grid};
use rpo_reward::{Candidate, Lambda, Mean, Scale, Score, Variant};
use std::collections::BTreeSet;

fn any_rule() -> impl Strategy<Value = Rule> {
    let mean = prop::sample::select(vec![Mean::Harmonic, Mean::Arithmetic, Mean::Geometric]);
    let kind = prop::sample::select(vec![Kind::Best, Kind::Best, Kind::Best, Kind::Last]);
    (mean, kind, 0u8..=20, prop::option::of(1usize..5)).prop_map(
        |(mean, kind, lambda, patience)| Rule {
            name: "any".to_owned(),
            kind,
            mean,
            lambda: Lambda::try_new(f64::from(lambda) / 20.0).unwrap(),
            patience,
        },
    )
}

/// Step 0, then up to three candidates of every step.
fn candidate(i: usize, each: usize) -> Candidate {
    let variants = [
        Variant::Trained,
        Variant::Ema,
        Variant::Scaled(Scale::new(0.4).unwrap()),
    ];
    let Some(after) = i.checked_sub(1) else {
        return Candidate::BASE;
    };
    Candidate {
        step: 40 * (after / each + 1),
        variant: variants[each - 1 - after % each],
    }
}

/// Scores on a coarse scale, so that ties are common.
fn trajectory() -> impl Strategy<Value = Vec<Validation>> {
    (1usize..4, prop::sample::select(vec![1, 1, 2, 3])).prop_flat_map(|(pictures, each)| {
        let score = (0u8..6, 0u8..6).prop_map(|(i, t)| Score {
            image: f64::from(i) / 5.0,
            text: f64::from(t) / 5.0,
        });
        prop::collection::vec(prop::collection::vec(score, pictures), 1..=13 * each).prop_map(
            move |all| {
                all.into_iter()
                    .enumerate()
                    .map(|(i, scores)| Validation {
                        candidate: candidate(i, each),
                        scores,
                    })
                    .collect()
            },
        )
    })
}

proptest! {
    #[test]
    fn what_follows_a_stop_changes_nothing(rule in any_rule(), validations in trajectory(), limit: bool) {
        let mut finished: Option<Decision> = None;
        let step = |i: usize| validations.get(i).map(|v| v.candidate.step);
        // The candidates of a step come together.
        for length in (1..=validations.len()).filter(|n| step(n - 1) != step(*n)) {
            // The limit can only be reached by the whole trajectory.
            let decision = decide(&rule, &validations[..length], limit && length == validations.len()).unwrap();
            if let Some(earlier) = &finished {
                prop_assert_eq!(earlier, &decision);
            }
            prop_assert!(decision.chosen < length);
            prop_assert!(decision.stopped_at.is_none_or(|stop| decision.chosen <= stop && stop < length));
            if decision.finished {
                finished = Some(decision);
            }
        }
        if rule.kind == Kind::Last || rule.patience.is_none() {
            prop_assert_eq!(finished.is_some(), limit);
        }
    }

    #[test]
    fn a_rule_ignores_scores_after_its_stop(rule in any_rule(), a in trajectory(), b in trajectory()) {
        let before = decide(&rule, &a, false).unwrap();
        prop_assume!(before.finished);
        // Another trajectory's scores in place of everything after the stop.
        let stop = before.stopped_at.unwrap();
        let mut other = a[..=stop].to_vec();
        let pictures = a[0].scores.len();
        other.extend(b.iter().filter(|v| v.scores.len() == pictures).enumerate().map(|(i, v)| Validation {
            candidate: (40 * (stop + 1 + i)).into(),
            scores: v.scores.clone(),
        }));
        prop_assert_eq!(decide(&rule, &other, true).unwrap(), before);
    }

    #[test]
    fn nothing_beats_the_choice_before_the_stop(rule in any_rule(), validations in trajectory()) {
        let decision = decide(&rule, &validations, true).unwrap();
        let reward = |i: usize| {
            let rewards = validations[i].rewards(rule.mean, rule.lambda);
            rewards.iter().sum::<f64>() / rewards.len() as f64
        };
        if rule.kind == Kind::Best {
            for i in 0..=decision.stopped_at.unwrap() {
                prop_assert!(reward(i) <= reward(decision.chosen));
                prop_assert!(i >= decision.chosen || reward(i) < reward(decision.chosen));
            }
        }
    }

    #[test]
    fn a_choice_on_the_grid_is_a_winner_as_of_the_stop(rule in any_rule(), validations in trajectory()) {
        prop_assume!(rule.kind == Kind::Best && rule.mean != Mean::Geometric);
        let decision = decide(&rule, &validations, true).unwrap();
        let winners = winners_on_grid(&validations[..=decision.stopped_at.unwrap()]).unwrap();
        prop_assert!(winners.contains(&decision.chosen));
    }

    #[test]
    fn deleted_weights_are_never_asked_for_again(
        rules in prop::collection::vec(any_rule(), 1..4), validations in trajectory()
    ) {
        let (mut alive, mut before) = (BTreeSet::new(), 0);
        let step = |i: usize| validations.get(i).map(|v| v.candidate.step);
        // The candidates of a step come together.
        for length in (1..=validations.len()).filter(|n| step(n - 1) != step(*n)) {
            alive.extend(before..length);
            before = length;
            let keep = kept(&rules, &validations[..length], length == validations.len()).unwrap();
            prop_assert!(keep.is_subset(&alive), "{:?} of {:?}", keep, alive);
            alive = keep;
        }
    }
}
