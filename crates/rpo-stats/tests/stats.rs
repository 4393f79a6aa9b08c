//! The statistics against scipy, and the cases without a test.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rpo_stats::{
    Comparison, DRAWS, EXACT, Equivalence, Interval, SameCheckpoint, Sample, Units, by_subject,
    holm, paper_std, sign_flip, units,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    paired: Vec<Paired>,
    pairs: Vec<Pairs>,
    holm: Vec<Holm>,
    table: Cells,
}

#[derive(Deserialize)]
struct Paired {
    after: Vec<f64>,
    before: Vec<f64>,
    mean: f64,
    std: f64,
    low: f64,
    high: f64,
    p: f64,
}

#[derive(Deserialize)]
struct Pairs {
    difference: Vec<f64>,
    margin: f64,
    permutation: f64,
    tost: f64,
}

#[derive(Deserialize)]
struct Holm {
    p: Vec<f64>,
    adjusted: Vec<f64>,
}

#[derive(Deserialize)]
struct Cells {
    values: Vec<Vec<Vec<f64>>>,
    by_subject: Vec<f64>,
    paper_std: f64,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("golden/stats.json")).unwrap()
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * f64::max(1.0, b.abs())
}

#[test]
fn intervals_and_p_are_scipys() {
    for case in golden().paired {
        let ours = Interval::of_difference(&case.after, &case.before).unwrap();
        let (low, high) = ours.interval.unwrap();
        let p = ours.p.unwrap();
        assert_eq!(ours.n, case.after.len());
        for (name, a, b) in [
            ("mean", ours.mean, case.mean),
            ("std", ours.std, case.std),
            ("low", low, case.low),
            ("high", high, case.high),
        ] {
            assert!(close(a, b), "n = {}, {name}: {a} against {b}", ours.n);
        }
        // Relative, down to the smallest p.
        assert!(
            (p - case.p).abs() <= 1e-8 * case.p,
            "n = {}: p {p} against {}",
            ours.n,
            case.p
        );
    }
}

#[test]
fn holm_steps_down() {
    for case in golden().holm {
        let p: Vec<Option<f64>> = case.p.iter().copied().map(Some).collect();
        for (ours, expected) in holm(&p).into_iter().zip(case.adjusted) {
            assert!(close(ours.unwrap(), expected), "{:?}", case.p);
        }
    }
    // A test without a p-value does not count.
    assert_eq!(
        holm(&[Some(0.01), None, Some(0.04)]),
        [Some(0.02), None, Some(0.04)]
    );
    assert_eq!(holm(&[]), []);
}

#[test]
fn subjects_and_cells_are_numpys() {
    let cells = golden().table;
    let mut samples = Vec::new();
    for (s, prompts) in cells.values.iter().enumerate() {
        for (p, pictures) in prompts.iter().enumerate() {
            let sample = |&value| Sample {
                subject: format!("s{s}"),
                pair: "0".to_owned(),
                prompt: format!("p{p}"),
                value,
            };
            samples.extend(pictures.iter().map(sample));
        }
    }
    let means: Vec<f64> = by_subject(&samples).unwrap().into_values().collect();
    assert_eq!(means.len(), cells.by_subject.len());
    assert!(
        means
            .iter()
            .zip(&cells.by_subject)
            .all(|(a, b)| close(*a, *b))
    );
    assert!(close(
        paper_std(&samples).unwrap().unwrap(),
        cells.paper_std
    ));
    assert_eq!(paper_std(&samples[..3]).unwrap(), None);
    samples[7].value = f64::NAN;
    let error = by_subject(&samples).unwrap_err().to_string();
    assert!(
        error.contains("subject `s0`, prompt `p2` is NaN"),
        "{error}"
    );
}

#[test]
fn nothing_is_ever_nan() {
    let same = Interval::of(&[0.0; 5]).unwrap();
    assert_eq!(
        (same.mean, same.std, same.interval, same.p),
        (0.0, 0.0, Some((0.0, 0.0)), Some(1.0))
    );
    // 0.1 is not a binary fraction: the mean of many is off by rounding, which must not count as a spread.
    let constant = Interval::of(&[0.1; 7]).unwrap();
    assert_eq!(
        (constant.mean, constant.std, constant.interval, constant.p),
        (0.1, 0.0, Some((0.1, 0.1)), Some(0.0))
    );
    let single = Interval::of(&[0.3]).unwrap();
    assert_eq!((single.mean, single.interval, single.p), (0.3, None, None));
    assert!(!single.excludes_zero() && !same.excludes_zero() && constant.excludes_zero());
    assert!(Interval::of(&[]).is_err());
    assert!(
        Interval::of(&[0.1, f64::NAN])
            .unwrap_err()
            .to_string()
            .contains("value 1 is NaN")
    );
    assert!(Interval::of_difference(&[0.1, 0.2], &[0.1]).is_err());
}

/// Where every assignment is counted, no sign is drawn.
fn none() -> u64 {
    panic!("a sign was drawn")
}

#[test]
fn permutations_and_equivalence_are_scipys() {
    for case in golden().pairs {
        let n = case.difference.len();
        let p = sign_flip(&case.difference, none).unwrap();
        assert!(
            close(p, case.permutation),
            "n = {n}: {p} against {}",
            case.permutation
        );
        let difference = Interval::of(&case.difference).unwrap();
        let tost = Equivalence::of(&difference, case.margin).unwrap().p;
        assert!(
            (tost - case.tost).abs() <= 1e-8 * case.tost,
            "n = {n}: {tost} against {}",
            case.tost
        );
    }
    assert_eq!(sign_flip(&[0.1], none), None);
    assert_eq!(sign_flip(&[0.1, f64::NAN], none), None);
    assert_eq!(sign_flip(&[0.0; 4], none), Some(1.0));
    assert_eq!(
        sign_flip(&[0.1; EXACT], none),
        Some(2.0f64.powi(1 - EXACT as i32))
    );
    assert_eq!(Equivalence::of(&Interval::of(&[0.1]).unwrap(), 0.1), None);
    let same = Interval::of(&[0.0; 4]).unwrap();
    assert!(Equivalence::of(&same, 0.002).unwrap().holds());
    assert!(
        !Equivalence::of(&Interval::of(&[0.002; 4]).unwrap(), 0.002)
            .unwrap()
            .holds()
    );
    assert_eq!(Equivalence::of(&same, 0.0), None);
}

/// Draws agree with counting within four standard errors.
#[test]
fn many_differences_are_drawn() {
    let mut state = 7u64;
    let mut bits = || {
        // splitmix64
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let some: Vec<f64> = (0..28)
        .map(|i| f64::from(i * 37 % 29) / 29.0 - 0.42)
        .collect();
    let exact = sign_flip(&some, none).unwrap();
    // Zeros change neither the sums nor p, only the number of differences.
    let padded: Vec<f64> = some.iter().copied().chain([0.0; 40]).collect();
    let drawn = sign_flip(&padded, &mut bits).unwrap();
    let error = (exact * (1.0 - exact) / DRAWS as f64).sqrt();
    assert!(
        exact > 0.01 && (drawn - exact).abs() < 4.0 * error,
        "{drawn} against {exact}"
    );
    assert!(sign_flip(&[0.1; 40], bits).unwrap() < 2e-5);
}

#[test]
fn rows_are_paired_by_subject_and_pair() {
    let of = |values: &[(&str, &str, f64)]| -> Units {
        let samples: Vec<Sample> = values
            .iter()
            .map(|&(subject, pair, value)| Sample {
                subject: subject.into(),
                pair: pair.into(),
                prompt: "p".into(),
                value,
            })
            .collect();
        units(&samples).unwrap()
    };
    let row = of(&[
        ("cat", "0", 0.5),
        ("cat", "1", 0.75),
        ("dog", "0", 0.5),
        ("fox", "0", 0.1),
    ]);
    let base = of(&[
        ("cat", "0", 0.25),
        ("cat", "1", 0.25),
        ("dog", "0", 0.625),
        ("dog", "1", 0.9),
        ("owl", "0", 0.3),
    ]);
    let found = Comparison::of(&row, ("base", &base), Some(true), 0.002, none)
        .unwrap()
        .unwrap();
    // Seeds are averaged within a subject first; what only one has is left out.
    assert_eq!(found.difference, Interval::of(&[0.375, -0.125]).unwrap());
    assert_eq!((found.improved, found.worst_tenth), (Some(1), Some(-0.125)));
    assert_eq!(
        (found.p_permutation, found.against.as_str()),
        (Some(1.0), "base")
    );
    let lower = Comparison::of(&row, ("base", &base), Some(false), 0.002, none)
        .unwrap()
        .unwrap();
    assert_eq!((lower.improved, lower.worst_tenth), (Some(1), Some(0.375)));
    let neither = Comparison::of(&row, ("base", &base), None, 0.002, none)
        .unwrap()
        .unwrap();
    assert_eq!((neither.improved, neither.worst_tenth), (None, None));
    let other = of(&[("cat", "other photos", 0.5)]);
    assert!(
        Comparison::of(&row, ("other", &other), None, 0.002, none)
            .unwrap()
            .is_none()
    );
}

#[test]
fn same_checkpoints_are_counted() {
    let chosen = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|&(a, b)| (a.to_owned(), b.to_owned()))
            .collect()
    };
    let a = chosen(&[("cat/0", "t@40"), ("dog/0", "t@80"), ("fox/0", "t@80")]);
    let b = chosen(&[("cat/0", "t@40"), ("dog/0", "t@120")]);
    let same = SameCheckpoint::count(&a, &b).unwrap();
    assert_eq!(same.to_string(), "same checkpoint in 1 of 2");
    assert!(!same.everywhere() && SameCheckpoint::count(&a, &a).unwrap().everywhere());
    assert_eq!(SameCheckpoint::count(&a, &BTreeMap::new()), None);
}

proptest! {
    #[test]
    fn the_interval_holds_zero_exactly_where_p_is_above_5_percent(values in prop::collection::vec(-1.0..1.0f64, 2..20)) {
        let interval = Interval::of(&values).unwrap();
        let p = interval.p.unwrap();
        prop_assume!((p - 0.05).abs() > 1e-9);
        prop_assert_eq!(interval.excludes_zero(), p < 0.05);
    }

    #[test]
    fn exchanging_the_sides_exchanges_the_sign(pairs in prop::collection::vec((0.0..1.0f64, 0.0..1.0f64), 2..12)) {
        let (a, b): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
        let (one, other) = (Interval::of_difference(&a, &b).unwrap(), Interval::of_difference(&b, &a).unwrap());
        prop_assert!((one.mean + other.mean).abs() < 1e-15 && one.p == other.p);
        prop_assert!((one.interval.unwrap().0 + other.interval.unwrap().1).abs() < 1e-12);
    }

    #[test]
    fn holm_never_lowers_a_p_and_keeps_their_order(p in prop::collection::vec(0.0..=1.0f64, 1..8)) {
        let adjusted = holm(&p.iter().copied().map(Some).collect::<Vec<_>>());
        for i in 0..p.len() {
            let a = adjusted[i].unwrap();
            prop_assert!(a >= p[i] && a <= 1.0 && a <= p.len() as f64 * p[i] + 1e-15);
            for j in 0..p.len() {
                prop_assert!(p[i] > p[j] || a <= adjusted[j].unwrap());
            }
        }
    }
}
