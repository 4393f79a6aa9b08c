//! A table of cases.

use super::common::{best, plain};
use rpo_reward::select::{
    Kind, Rule, SelectError, Validation, decide, gain_over_first, winners_on_grid,
};
use rpo_reward::{Candidate, Lambda, Mean, Scale, Score, Variant};
use std::collections::BTreeSet;

struct Case {
    because: &'static str,
    rule: Rule,
    rewards: &'static [f64],
    limit: bool,
    chosen: usize,
    stopped_at: Option<usize>,
}

#[test]
fn table_of_decisions() {
    let case = |because, rule, rewards, limit, chosen, stopped_at| Case {
        because,
        rule,
        rewards,
        limit,
        chosen,
        stopped_at,
    };
    let cases = [
        case(
            "the baseline alone is a candidate, and nothing has stopped",
            best(Some(3)),
            &[0.5],
            false,
            0,
            None,
        ),
        case(
            "a limit of zero steps leaves the baseline",
            best(Some(3)),
            &[0.5],
            true,
            0,
            Some(0),
        ),
        case(
            "the baseline stays the best, patience runs out at its third",
            best(Some(3)),
            &[0.5, 0.4, 0.4, 0.4, 0.9],
            false,
            0,
            Some(3),
        ),
        case(
            "two validations without a maximum are not three",
            best(Some(3)),
            &[0.5, 0.6, 0.4, 0.4],
            false,
            1,
            None,
        ),
        case(
            "patience counts from the latest maximum",
            best(Some(2)),
            &[0.5, 0.4, 0.6, 0.5, 0.5, 0.9],
            false,
            2,
            Some(4),
        ),
        case(
            "an equal reward is no new maximum: the earliest stays, patience keeps counting",
            best(Some(2)),
            &[0.5, 0.6, 0.6, 0.6, 0.7],
            false,
            1,
            Some(3),
        ),
        case(
            "a maximum at the last moment saves the rule",
            best(Some(2)),
            &[0.5, 0.4, 0.6],
            false,
            2,
            None,
        ),
        case(
            "patience 1 stops at the first fall",
            best(Some(1)),
            &[0.5, 0.6, 0.5, 0.9],
            false,
            1,
            Some(2),
        ),
        case(
            "no patience waits for the limit",
            best(None),
            &[0.5, 0.4, 0.4, 0.4, 0.4, 0.4],
            false,
            0,
            None,
        ),
        case(
            "no patience sees the late maximum",
            best(None),
            &[0.5, 0.4, 0.4, 0.4, 0.4, 0.9],
            true,
            5,
            Some(5),
        ),
        case(
            "the limit stops a rule whose patience is not spent",
            best(Some(3)),
            &[0.5, 0.6, 0.4],
            true,
            1,
            Some(2),
        ),
        case(
            "a spent patience comes before the limit",
            best(Some(1)),
            &[0.5, 0.4, 0.9],
            true,
            0,
            Some(1),
        ),
        case(
            "last takes the latest, however bad",
            Rule::last("last"),
            &[0.5, 0.9, 0.1],
            true,
            2,
            Some(2),
        ),
        case(
            "last runs on, whatever its patience",
            Rule::last("last").with_patience(Some(1)),
            &[0.5, 0.4, 0.3],
            false,
            2,
            None,
        ),
    ];
    for case in cases {
        let decision = decide(&case.rule, &plain(case.rewards), case.limit).unwrap();
        assert_eq!(
            (decision.chosen, decision.stopped_at),
            (case.chosen, case.stopped_at),
            "{}: {decision:?}",
            case.because
        );
        assert_eq!(
            decision.finished,
            case.stopped_at.is_some(),
            "{}",
            case.because
        );
    }
}

#[test]
fn reasons_name_steps_and_rewards() {
    let decision = decide(&best(Some(2)), &plain(&[0.5, 0.625, 0.5, 0.5]), false).unwrap();
    assert_eq!(
        decision.reason,
        "stopped at step 120: 2 validations in a row brought nothing above 0.6250 of step 40"
    );
}

/// A step 0, then steps with a scaled and an averaged candidate before the trained weights.
fn with_variants(base: f64, steps: &[[f64; 3]]) -> Vec<Validation> {
    let mut all = plain(&[base]);
    for (i, rewards) in steps.iter().enumerate() {
        let scaled = Variant::Scaled(Scale::new(0.4).unwrap());
        let variants = [scaled, Variant::Ema, Variant::Trained];
        for (variant, validation) in variants.into_iter().zip(plain(rewards)) {
            let step = 40 * (i + 1);
            let candidate = Candidate { step, variant };
            all.push(Validation {
                candidate,
                ..validation
            });
        }
    }
    all
}

#[test]
fn patience_counts_steps_and_not_their_candidates() {
    // The average of step 80 is the best; two steps follow it, with six candidates.
    let steps = [
        [0.5, 0.5, 0.6],
        [0.5, 0.7, 0.6],
        [0.5, 0.5, 0.5],
        [0.5, 0.5, 0.7],
        [0.9; 3],
    ];
    let decision = decide(&best(Some(2)), &with_variants(0.5, &steps), true).unwrap();
    assert_eq!((decision.chosen, decision.stopped_at), (5, Some(12)));
    assert_eq!(
        decision.reason,
        "stopped at step 160: 2 validations in a row brought nothing above 0.7000 of step 80 (EMA)"
    );
    // The last weights of a step are read before it counts as in vain.
    let late = [[0.4, 0.4, 0.6], [0.4, 0.4, 0.8]];
    let decision = decide(&best(Some(1)), &with_variants(0.5, &late), false).unwrap();
    assert_eq!((decision.chosen, decision.stopped_at), (6, None));
    // The trained weights of the last step, whatever comes before them.
    let last = decide(&Rule::last("last"), &with_variants(0.5, &late), true).unwrap();
    assert_eq!(last.chosen, 6);
}

#[test]
fn lambda_and_mean_change_the_choice() {
    // Faithful to the text, to the image, and partly to both. The arithmetic mean at λ = .5 prefers the extremes.
    let scores = [(0.2, 0.9), (0.95, 0.2), (0.5, 0.55)];
    let validations: Vec<Validation> = scores
        .iter()
        .enumerate()
        .map(|(i, &(image, text))| Validation {
            candidate: (40 * i).into(),
            scores: vec![Score { image, text }],
        })
        .collect();
    let chosen = |mean, lambda| {
        let rule = Rule::best("r", mean, Lambda::try_new(lambda).unwrap()).with_patience(None);
        decide(&rule, &validations, true).unwrap().chosen
    };
    assert_eq!(chosen(Mean::Harmonic, 0.0), 0);
    assert_eq!(chosen(Mean::Harmonic, 1.0), 1);
    assert_eq!(chosen(Mean::Harmonic, 0.5), 2);
    assert_eq!(chosen(Mean::Arithmetic, 0.5), 1);
    assert_eq!(
        winners_on_grid(&validations).unwrap(),
        BTreeSet::from([0, 1, 2])
    );
}

#[test]
fn broken_scores_stop_the_choice_unless_they_come_after_it() {
    let mut validations = plain(&[0.5, 0.6, 0.4, 0.4, 0.4, 0.9]);
    validations[5].scores[0].text = f64::NAN;
    let stopped = decide(&best(Some(3)), &validations, true).unwrap();
    assert_eq!((stopped.chosen, stopped.stopped_at), (1, Some(4)));
    let error = decide(&best(None), &validations, true).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("step 200, picture 0: the text score is NaN"),
        "{error}"
    );
    assert!(winners_on_grid(&validations).is_err());
}

#[test]
fn malformed_trajectories_are_refused() {
    assert_eq!(
        decide(&best(None), &[], true),
        Err(SelectError::NoValidation)
    );
    assert_eq!(winners_on_grid(&[]), Err(SelectError::NoValidation));
    assert!(matches!(
        decide(&best(Some(0)), &plain(&[0.5]), false),
        Err(SelectError::Patience(_))
    ));
    let mut uneven = plain(&[0.5, 0.6]);
    uneven[1].scores.push(Score {
        image: 0.5,
        text: 0.5,
    });
    assert_eq!(
        decide(&best(None), &uneven, true),
        Err(SelectError::Uneven {
            step: 40.into(),
            found: 2,
            expected: 1
        })
    );
    let mut empty = plain(&[0.5]);
    empty[0].scores.clear();
    assert_eq!(
        decide(&best(None), &empty, true),
        Err(SelectError::NoPictures { step: 0.into() })
    );
    let mut twice = plain(&[0.5, 0.6]);
    twice[1].candidate = 0.into();
    assert_eq!(
        decide(&best(None), &twice, true),
        Err(SelectError::Order {
            step: 0.into(),
            before: 0.into()
        })
    );
}

#[test]
fn rules_are_written_plainly() {
    let rule: Rule = serde_json::from_str(r#"{"name": "h.3", "lambda": 0.3}"#).unwrap();
    assert_eq!(
        rule,
        Rule::best("h.3", Mean::Harmonic, Lambda::try_new(0.3).unwrap())
    );
    assert_eq!(rule.patience, Some(3));
    let none: Rule =
        serde_json::from_str(r#"{"name": "p", "lambda": 0.3, "patience": "none"}"#).unwrap();
    assert_eq!(none.patience, None);
    let last: Rule =
        serde_json::from_str(r#"{"name": "l", "kind": "last", "lambda": 0.5}"#).unwrap();
    assert_eq!(last.kind, Kind::Last);
    for text in [
        r#"{"name": "p", "lambda": 0.3, "patience": 0}"#,
        r#"{"name": "p", "lambda": 0.3, "patience": "never"}"#,
        r#"{"name": "p", "lambda": 1.3}"#,
        r#"{"name": "p", "lambda": 0.3, "patiance": 2}"#,
    ] {
        assert!(serde_json::from_str::<Rule>(text).is_err(), "{text}");
    }
    for rule in [rule, none, last] {
        let text = serde_json::to_string(&rule).unwrap();
        assert_eq!(serde_json::from_str::<Rule>(&text).unwrap(), rule, "{text}");
    }
}

#[test]
fn the_gain_is_paired_by_picture() {
    let scores = |values: [f64; 4]| values.map(|v| Score { image: v, text: v }).to_vec();
    let validations = [
        Validation {
            candidate: 0.into(),
            scores: scores([0.1, 0.3, 0.5, 0.7]),
        },
        Validation {
            candidate: 40.into(),
            scores: scores([0.2, 0.4, 0.6, 0.9]),
        },
    ];
    let gain = gain_over_first(&best(None), &validations, 1).unwrap();
    assert!((gain.mean - 0.125).abs() < 1e-15);
    // Differences .1 .1 .1 .2: std .05, t(3, .975) = 3.182446.
    let (low, high) = gain.interval.unwrap();
    assert!(
        (low - (0.125 - 3.182_446_305_284 * 0.025)).abs() < 1e-9,
        "{low}"
    );
    assert!(
        (high - (0.125 + 3.182_446_305_284 * 0.025)).abs() < 1e-9,
        "{high}"
    );
    assert!(gain.excludes_zero());
    let none = gain_over_first(&best(None), &validations, 0).unwrap();
    assert_eq!(
        (none.mean, none.interval, none.p),
        (0.0, Some((0.0, 0.0)), Some(1.0))
    );
}
