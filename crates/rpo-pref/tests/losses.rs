//! The losses against the scalar oracle, their slopes against finite differences of the oracle, and their limits; then the
//! sum of terms, and a new term.

mod oracle;

use std::collections::BTreeMap;

use oracle::Errors as Pair;
use proptest::prelude::*;
use rpo_pref::loss::{self, ell, l_pref};
use rpo_pref::terms::{Errors, Mean, Network, Objective, Preference, Rows, Sum, Term};
use rpo_pref::{Norm, Preset, Recipe};

fn close(a: f64, b: f64, relative: f64) -> bool {
    (a - b).abs() <= relative * f64::max(1.0, b.abs())
}

/// The squared errors of some pairs.
fn errors_of(pairs: &[Pair], labels: &[f64]) -> Errors {
    let mut errors = Errors::new(labels.to_vec());
    let mut insert = |network, rows, pick: fn(&Pair) -> f64| {
        errors.insert(network, rows, pairs.iter().map(pick).collect());
    };
    insert(Network::Frozen, Rows::Reference, |e| e.base_ref);
    insert(Network::Trained, Rows::Reference, |e| e.theta_ref);
    insert(Network::Frozen, Rows::Generated, |e| e.base_gen);
    insert(Network::Trained, Rows::Generated, |e| e.theta_gen);
    errors
}

/// Eq. 9 with weights 1 and 1 on the squared errors of some pairs.
fn of_pairs(pairs: &[Pair], labels: &[f64], beta: f64) -> Sum {
    let errors = errors_of(pairs, labels);
    let recipe = Recipe {
        beta,
        ..Recipe::official()
    };
    recipe.objective().sum(&errors, 1.0)
}

fn oracle_total(pairs: &[Pair], labels: &[f64], beta: f64) -> f64 {
    let ells: Vec<f64> = pairs.iter().map(|&e| oracle::ell(e)).collect();
    let theta: Vec<f64> = pairs.iter().map(|e| e.theta_ref).collect();
    oracle::l_sim(&theta) + oracle::l_pref(&ells, labels, beta)
}

fn pairs() -> impl Strategy<Value = Pair> {
    (0.0..4.0, 0.0..4.0, 0.0..4.0, 0.0..4.0).prop_map(
        |(base_ref, theta_ref, base_gen, theta_gen)| Pair {
            base_ref,
            theta_ref,
            base_gen,
            theta_gen,
        },
    )
}

fn batch() -> impl Strategy<Value = (Vec<Pair>, Vec<f64>)> {
    (1usize..5).prop_flat_map(|n| {
        (
            prop::collection::vec(pairs(), n),
            prop::collection::vec(0.0..=1.0, n),
        )
    })
}

proptest! {
    #[test]
    fn the_sum_agrees_with_the_oracle((pairs, labels) in batch(), beta in 0.01..60.0f64) {
        let expected = oracle_total(&pairs, &labels, beta);
        let sum = of_pairs(&pairs, &labels, beta);
        prop_assert!(close(sum.total, expected, 1e-13), "{} against {}", sum.total, expected);
        prop_assert!(close(sum.terms["sim"] + sum.terms["pref"], expected, 1e-13));
    }

    #[test]
    fn weights_of_samples_multiply_their_errors_in_the_mean_alone(
        (pairs, labels) in batch(),
        weights in prop::collection::vec(0.0..3.0f64, 5),
    ) {
        let weights = &weights[..pairs.len()];
        let weighted: Vec<f64> = pairs.iter().zip(weights).map(|(e, w)| e.theta_ref * w).collect();
        let ells: Vec<f64> = pairs.iter().map(|&e| oracle::ell(e)).collect();
        let expected = oracle::l_sim(&weighted) + oracle::l_pref(&ells, &labels, 1.0);
        let mut errors = errors_of(&pairs, &labels);
        errors.weigh(Rows::Reference, weights.to_vec());
        let sum = Recipe::official().objective().sum(&errors, 1.0);
        prop_assert!(close(sum.total, expected, 1e-13), "{} against {expected}", sum.total);
        let plain = of_pairs(&pairs, &labels, 1.0);
        for (i, w) in weights.iter().enumerate() {
            let change = (w - 1.0) / pairs.len() as f64;
            let [own, of_plain] = [&sum, &plain].map(|sum| sum.slopes[&Rows::Reference][i]);
            prop_assert!(close(own, of_plain + change, 1e-13));
        }
    }

    #[test]
    fn slopes_are_those_of_the_oracle((pairs, labels) in batch(), beta in 0.01..8.0f64) {
        let slopes = of_pairs(&pairs, &labels, beta).slopes;
        let h = 1e-5;
        for sample in 0..pairs.len() {
            for rows in [Rows::Reference, Rows::Generated] {
                let at = |delta: f64| {
                    let mut moved = pairs.clone();
                    match rows {
                        Rows::Reference => moved[sample].theta_ref += delta,
                        _ => moved[sample].theta_gen += delta,
                    }
                    oracle_total(&moved, &labels, beta)
                };
                let numeric = (at(h) - at(-h)) / (2.0 * h);
                let analytic = slopes[&rows][sample];
                prop_assert!(close(analytic, numeric, 1e-6), "{:?}: {} against {}", rows, analytic, numeric);
            }
        }
        prop_assert_eq!(slopes.len(), 2);
    }

    #[test]
    fn l_pref_falls_with_ell_where_the_reference_is_preferred(l in -5.0..5.0f64, more in 0.0..5.0f64, beta in 0.1..9.0f64) {
        let at = |l: f64, y: f64| l_pref(&[l], &[y], beta).value;
        prop_assert!(at(l + more, 1.0) <= at(l, 1.0) + 1e-12);
        prop_assert!(at(l + more, 0.0) >= at(l, 0.0) - 1e-12);
        prop_assert!(at(l, 1.0) >= 0.0 && at(l, 0.0) >= 0.0);
        // Swapping the two pictures and the label changes nothing.
        prop_assert!((at(l, 1.0) - at(-l, 0.0)).abs() < 1e-12);
    }

    #[test]
    fn ell_rises_with_the_base_errors_on_references_only(e in pairs(), more in 0.0..1.0f64) {
        let at = |e: Pair| ell(e.base_ref, e.theta_ref, e.base_gen, e.theta_gen);
        let l = at(e);
        prop_assert!((at(Pair { base_ref: e.base_ref + more, ..e }) >= l), "at {:?}", e);
        prop_assert!((at(Pair { theta_ref: e.theta_ref + more, ..e }) <= l), "at {:?}", e);
        prop_assert!((at(Pair { base_gen: e.base_gen + more, ..e }) <= l), "at {:?}", e);
        prop_assert!((at(Pair { theta_gen: e.theta_gen + more, ..e }) >= l), "at {:?}", e);
    }

    #[test]
    fn the_order_of_samples_does_not_matter((mut pairs, mut labels) in batch(), shift in 0usize..5) {
        let total = of_pairs(&pairs, &labels, 3.0).total;
        let shift = shift % labels.len();
        pairs.rotate_left(shift);
        labels.rotate_left(shift);
        prop_assert!((total - of_pairs(&pairs, &labels, 3.0).total).abs() < 1e-12);
    }
}

proptest! {
    /// A round's loss: winners in the place of references, against the model at the round's start, every label 1.
    #[test]
    fn rounds_prefer_winners_to_losers_against_their_own_start(pairs in prop::collection::vec(pairs(), 1..5), beta in 0.01..8.0f64) {
        let recipe = Recipe { beta, ..Recipe::dreambooth_dpo() };
        let objective = recipe.round_objective();
        let of = |pairs: &[Pair]| {
            let mut errors = Errors::new(vec![1.0; pairs.len()]);
            let mut insert = |network, rows, pick: fn(&Pair) -> f64| {
                errors.insert(network, rows, pairs.iter().map(pick).collect());
            };
            insert(Network::Frozen, Rows::Preferred, |e| e.base_ref);
            insert(Network::Trained, Rows::Preferred, |e| e.theta_ref);
            insert(Network::Frozen, Rows::Generated, |e| e.base_gen);
            insert(Network::Trained, Rows::Generated, |e| e.theta_gen);
            objective.sum(&errors, 1.0)
        };
        let by_hand = |pairs: &[Pair]| {
            let logs = pairs.iter().map(|&e| oracle::log_sigmoid(beta * oracle::ell(e)));
            -logs.sum::<f64>() / pairs.len() as f64
        };
        let sum = of(&pairs);
        prop_assert!(close(sum.total, by_hand(&pairs), 1e-13), "{} against {}", sum.total, by_hand(&pairs));
        prop_assert_eq!(sum.terms.keys().copied().collect::<Vec<_>>(), ["pref"]);
        prop_assert_eq!(sum.slopes.len(), 2);
        let h = 1e-5;
        for sample in 0..pairs.len() {
            for rows in [Rows::Preferred, Rows::Generated] {
                let at = |delta: f64| {
                    let mut moved = pairs.clone();
                    match rows {
                        Rows::Preferred => moved[sample].theta_ref += delta,
                        _ => moved[sample].theta_gen += delta,
                    }
                    by_hand(&moved)
                };
                let numeric = (at(h) - at(-h)) / (2.0 * h);
                let analytic = sum.slopes[&rows][sample];
                prop_assert!(close(analytic, numeric, 1e-6), "{:?}: {} against {}", rows, analytic, numeric);
                // Training lowers the error on the winner and raises that on the loser.
                let rises = rows == Rows::Preferred;
                prop_assert_eq!(rises, analytic > 0.0 || (rises && analytic == 0.0));
            }
        }
    }
}

#[test]
fn at_the_start_the_slope_is_half_minus_the_label() {
    // The trained model is the base model: ℓ = 0, the kink of max(z, 0).
    for (label, beta) in [(0.0, 1.0), (1.0, 1.0), (0.25, 50.0)] {
        let loss = l_pref(&[0.0], &[label], beta);
        assert!((loss.value - 2f64.ln()).abs() < 1e-15);
        assert!((loss.slopes[0] - beta * (0.5 - label)).abs() < 1e-15 * beta);
    }
}

#[test]
fn ten_thousand_either_way_is_finite() {
    for ell in [1e4, -1e4] {
        for label in [0.0, 0.5, 1.0] {
            let loss = l_pref(&[ell], &[label], 1.0);
            let expected = oracle::l_pref(&[ell], &[label], 1.0);
            assert!(
                (loss.value - expected).abs() <= 1e-9,
                "{loss:?} against {expected}"
            );
            let slope = oracle::sigmoid(ell) - label;
            assert!(
                (loss.slopes[0] - slope).abs() < 1e-12,
                "ℓ {ell}, y {label}: {loss:?}"
            );
        }
    }
}

#[test]
fn the_sum_is_the_mean_times_the_elements() {
    let (prediction, target) = ([0.5, -1.0, 2.0, 0.0], [0.0, 1.0, 1.5, -0.5]);
    let mean = oracle::squared_error(&prediction, &target, true);
    let sum = oracle::squared_error(&prediction, &target, false);
    assert!((mean * Norm::Sum.scale(4) - sum).abs() < 1e-15);
    assert_eq!(Norm::Mean.scale(4), 1.0);
}

#[test]
fn with_the_sum_and_a_label_of_0_the_two_losses_cancel_on_the_reference() {
    // σ(ℓ) -> 1, y = 0: the slope of L_pref on theta_ref is -1, that of L_sim +1.
    let pair = Pair {
        base_ref: 40.0,
        theta_ref: 10.0,
        base_gen: 30.0,
        theta_gen: 30.0,
    };
    let slopes = of_pairs(&[pair], &[0.0], Recipe::paper().beta).slopes;
    assert!(slopes[&Rows::Reference][0].abs() < 1e-12, "{slopes:?}");
    assert!((slopes[&Rows::Generated][0] - 1.0).abs() < 1e-12);
}

#[test]
fn weights_and_shares_multiply_and_terms_of_weight_0_cost_no_pass() {
    let sim = Mean {
        name: "sim",
        rows: Rows::Reference,
    };
    let pref = Preference {
        reference: Rows::ReferenceMod,
        beta: 1.0,
    };
    let objective = Objective::default().with(sim, 3.0).with(pref, 0.0);
    assert_eq!(objective.rows(Network::Trained), [Rows::Reference].into());
    assert!(objective.rows(Network::Frozen).is_empty());
    let mut errors = Errors::default();
    errors.insert(Network::Trained, Rows::Reference, vec![1.0, 2.0]);
    let sum = objective.sum(&errors, 0.5);
    assert_eq!((sum.total, sum.terms["sim"]), (2.25, 0.75));
    assert_eq!(sum.slopes[&Rows::Reference], [0.75, 0.75]);
}

#[test]
fn passes_follow_from_the_terms() {
    let passes = |preset: Preset| {
        let passes = preset.recipe().passes();
        (passes.trainable, passes.frozen)
    };
    // c_mod needs a separate pass on the references.
    assert_eq!(passes(Preset::Paper), (3, 2));
    assert_eq!(passes(Preset::Official), (2, 2));
    assert_eq!(passes(Preset::Dreambooth), (2, 0));
    assert_eq!(passes(Preset::Dpo), (2, 2));
    assert_eq!(passes(Preset::TextualInversion), (1, 0));
    assert_eq!(passes(Preset::CustomDiffusion), (2, 0));
    assert_eq!(passes(Preset::Disenbooth), (2, 0));
    assert_eq!(passes(Preset::RpoLora), passes(Preset::Ours));
    let mut keys = rpo_pref::recipe::RecipeKeys::from(Preset::TextualInversion);
    keys.flip = Some(false);
    let recipe = keys.resolve().unwrap();
    assert_eq!(
        recipe.describe(Preset::TextualInversion),
        "textual_inversion, no flip"
    );
    assert_eq!(passes(Preset::Dco), (1, 1));
    let alone = Recipe {
        l_sim_weight: 0.0,
        ..Recipe::ours()
    };
    assert_eq!((alone.passes().trainable, alone.passes().frozen), (2, 2));
}

/// A loss unknown to the crate, in one place: DCO's, `-log σ(-β (e_θ - e_base))` on the references alone, means first.
#[derive(Debug)]
struct Dco {
    beta: f64,
}

impl Term for Dco {
    fn name(&self) -> &'static str {
        "dco"
    }

    fn reads(&self) -> Vec<(Network, Rows)> {
        [Network::Trained, Network::Frozen]
            .map(|network| (network, Rows::Reference))
            .to_vec()
    }

    fn value(&self, errors: &Errors) -> (f64, BTreeMap<Rows, Vec<f64>>) {
        let theta = loss::mean(errors.get(Network::Trained, Rows::Reference));
        let base = loss::mean(errors.get(Network::Frozen, Rows::Reference));
        // With the label 0, L_pref is -log σ(-β ℓ).
        let of = l_pref(&[theta.value - base.value], &[0.0], self.beta);
        let slopes = theta.slopes.iter().map(|s| s * of.slopes[0]).collect();
        (of.value, BTreeMap::from([(Rows::Reference, slopes)]))
    }
}

#[test]
fn a_new_term_brings_its_passes_and_its_slopes() {
    let objective = Objective::default().with(Dco { beta: 2.0 }, 1.0);
    assert_eq!(objective.rows(Network::Trained), [Rows::Reference].into());
    assert_eq!(objective.rows(Network::Frozen), [Rows::Reference].into());
    let at = |theta: &[f64]| {
        let mut errors = Errors::default();
        errors.insert(Network::Trained, Rows::Reference, theta.to_vec());
        errors.insert(Network::Frozen, Rows::Reference, vec![0.4, 0.7]);
        objective.sum(&errors, 1.0)
    };
    let (theta, h) = ([0.3, 0.9], 1e-6);
    let sum = at(&theta);
    assert!((sum.terms["dco"] + oracle::log_sigmoid(-2.0 * (0.6 - 0.55))).abs() < 1e-12);
    for i in 0..2 {
        let moved = |delta: f64| {
            let mut theta = theta;
            theta[i] += delta;
            at(&theta).total
        };
        let numeric = (moved(h) - moved(-h)) / (2.0 * h);
        assert!((sum.slopes[&Rows::Reference][i] - numeric).abs() < 1e-8);
    }
}

/// As DCO's script computes it: the means of the batch, their difference times -β, and `-logsigmoid`.
#[test]
fn consistency_is_that_of_dco_s_code() {
    let (trained, base) = ([0.31, 0.12, 0.25], [0.3, 0.2, 0.1]);
    let of = |trained: &[f64], beta: f64| {
        let mut errors = Errors::new(vec![]);
        errors.insert(Network::Trained, Rows::Reference, trained.to_vec());
        errors.insert(Network::Frozen, Rows::Plain, base.to_vec());
        let recipe = Recipe {
            beta,
            ..Recipe::dco()
        };
        recipe.objective().sum(&errors, 1.0)
    };
    // torch: -F.logsigmoid(-beta * (model_loss.mean() - ref_loss.mean())), torch 2.15.
    for (beta, expected) in [
        (1.0, 0.706_569_400_148_547_6),
        (1000.0, 26.666_666_666_669_293),
        (10.0, 0.835_343_189_522_641_3),
    ] {
        let found = of(&trained, beta).total;
        assert!((found - expected).abs() < 1e-9, "{beta}: {found}");
    }
    let h = 1e-6;
    for i in 0..3 {
        let at = |delta: f64| {
            let mut moved = trained;
            moved[i] += delta;
            of(&moved, 10.0).total
        };
        let numeric = (at(h) - at(-h)) / (2.0 * h);
        let slope = of(&trained, 10.0).slopes[&Rows::Reference][i];
        assert!((slope - numeric).abs() < 1e-7, "{slope} {numeric}");
    }
    assert_eq!(of(&trained, 10.0).slopes.len(), 1);
}
