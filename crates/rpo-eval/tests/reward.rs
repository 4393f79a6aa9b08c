//! The reward model on the embedded encoder: properties that hold for any weights, and alignments worked by hand.

use std::path::Path;

use image::{Rgb, RgbImage};
use ndarray::array;
use rpo_eval::alignment::{align_i, align_i_leave_one_out, alignment};
use rpo_eval::reward::Rewarder;
use rpo_nn::Place;

fn rewarder() -> Rewarder {
    Rewarder::load(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/micro/reward"),
        &Place::default(),
    )
    .unwrap()
}

/// Different pictures: a disc of some colour and size on a background.
fn picture(seed: u8) -> RgbImage {
    let radius = 12 + u32::from(seed) * 3;
    RgbImage::from_fn(64, 64, |x, y| {
        let inside = x.abs_diff(32).pow(2) + y.abs_diff(32).pow(2) < radius.pow(2);
        if inside {
            Rgb([40 * seed, 200 - 30 * seed, 90])
        } else {
            Rgb([30, 60 + 20 * seed, 220 - 25 * seed])
        }
    })
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

#[test]
fn alignments_worked_by_hand() {
    let references = array![[1.0f32, 0.0], [0.0, 1.0], [-1.0, 0.0]];
    assert_eq!(alignment(references.row(0), references.row(0)), 1.0);
    assert_eq!(alignment(references.row(0), references.row(1)), 0.5);
    assert_eq!(alignment(references.row(0), references.row(2)), 0.0);
    assert_eq!(align_i(references.row(0), references.view()), 0.5);
    assert_eq!(align_i_leave_one_out(0, references.view()), 0.25);
    assert_eq!(align_i_leave_one_out(1, references.view()), 0.5);
    // A row slightly too long by rounding: no score above 1.
    let long = array![1.000_000_1f32, 0.0];
    assert_eq!(alignment(long.view(), long.view()), 1.0);
}

#[test]
fn scores_do_not_depend_on_company_or_order() {
    let rewarder = rewarder();
    let references = rewarder.references(&[picture(0), picture(1)]).unwrap();
    let pictures = [picture(2), picture(3), picture(4)];
    let prompts = texts(&["a dog in the snow", "a cat", "a dog in the snow"]);
    let all = rewarder.score(&references, &pictures, &prompts).unwrap();
    for i in 0..3 {
        let alone = rewarder
            .score(&references, &pictures[i..=i], &prompts[i..=i])
            .unwrap()[0];
        assert!(
            (alone.image - all[i].image).abs() < 1e-5 && (alone.text - all[i].text).abs() < 1e-5
        );
        all[i].check().unwrap();
    }
    let swapped = rewarder.references(&[picture(1), picture(0)]).unwrap();
    let again = rewarder.score(&swapped, &pictures, &prompts).unwrap();
    for (a, b) in all.iter().zip(&again) {
        assert!((a.image - b.image).abs() < 1e-6);
    }
    // The text matters.
    let other = rewarder
        .score(&references, &pictures[..1], &texts(&["a pizza at night"]))
        .unwrap()[0];
    assert!((other.text - all[0].text).abs() > 1e-4 && (other.image - all[0].image).abs() < 1e-5);
}

#[test]
fn a_single_reference_is_wholly_like_itself() {
    let rewarder = rewarder();
    let references = rewarder.references(&[picture(3)]).unwrap();
    let score = rewarder
        .score(&references, &[picture(3)], &texts(&["a dog"]))
        .unwrap()[0];
    assert!((score.image - 1.0).abs() < 1e-6);
    let error = rewarder
        .score_references(&references, &texts(&["a dog"]), true)
        .unwrap_err()
        .to_string();
    assert!(error.contains("two references or more"), "{error}");
}

#[test]
fn references_are_scored_with_or_without_themselves() {
    let rewarder = rewarder();
    let pictures = [picture(0), picture(2), picture(4)];
    let references = rewarder.references(&pictures).unwrap();
    let prompts = texts(&["a dog in the snow", "a cat"]);
    let with = rewarder
        .score_references(&references, &prompts, false)
        .unwrap();
    let without = rewarder
        .score_references(&references, &prompts, true)
        .unwrap();
    for p in 0..2 {
        let scored = rewarder
            .score(&references, &pictures, &vec![prompts[p].clone(); 3])
            .unwrap();
        for r in 0..3 {
            assert!((with[p][r].image - scored[r].image).abs() < 1e-6);
            assert!((with[p][r].text - scored[r].text).abs() < 1e-6);
            assert_eq!(with[p][r].text, without[p][r].text);
            // n · with = (n - 1) · without + 1, its alignment with itself.
            assert!((3.0 * with[p][r].image - 2.0 * without[p][r].image - 1.0).abs() < 1e-6);
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let rewarder = rewarder();
    assert!(
        rewarder
            .references(&[])
            .unwrap_err()
            .to_string()
            .contains("without references")
    );
    let references = rewarder.references(&[picture(0)]).unwrap();
    let error = rewarder
        .score(&references, &[picture(0)], &[])
        .unwrap_err()
        .to_string();
    assert!(error.contains("1 pictures and 0 prompts"), "{error}");
    let error = format!(
        "{:#}",
        Rewarder::load(Path::new("no/such/folder"), &Place::default()).unwrap_err()
    );
    assert!(error.contains("no/such/folder"), "{error}");
}
