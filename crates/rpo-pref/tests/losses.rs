//! The tensor losses against the scalar oracle, their gradients against finite differences of the oracle,
//! and their behaviour at the ends.

mod oracle;

use candle_core::{DType, Device, Result, Tensor, Var};
use oracle::Errors;
use proptest::prelude::*;
use rpo_pref::loss::{Term, ell, l_pref, l_sim, total};
use rpo_pref::{Norm, Recipe};

fn tensor(values: &[f64]) -> Tensor {
    Tensor::new(values, &Device::Cpu).unwrap()
}

fn scalar(tensor: &Tensor) -> f64 {
    tensor
        .to_dtype(DType::F64)
        .unwrap()
        .to_scalar::<f64>()
        .unwrap()
}

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

fn close(a: f64, b: f64, relative: f64) -> bool {
    (a - b).abs() <= relative * f64::max(1.0, b.abs())
}

/// The whole of Eq. 9 on the four squared errors, all tracked: the loss and its gradients in their order.
fn forward_and_backward(
    errors: &[Errors],
    labels: &[f64],
    beta: f64,
    dtype: DType,
) -> Result<(f64, [Vec<f64>; 4])> {
    let var = |pick: fn(&Errors) -> f64| {
        let values: Vec<f64> = errors.iter().map(pick).collect();
        Var::from_tensor(&tensor(&values).to_dtype(dtype)?)
    };
    let vars = [
        var(|e| e.base_ref)?,
        var(|e| e.theta_ref)?,
        var(|e| e.base_gen)?,
        var(|e| e.theta_gen)?,
    ];
    let ell = ell(&vars[0], &vars[1], &vars[2], &vars[3])?;
    let pref = l_pref(&ell, &tensor(labels).to_dtype(dtype)?, beta)?;
    let sim = l_sim(&vars[1])?;
    let loss = total(&[
        Term {
            loss: &sim,
            weight: 1.0,
        },
        Term {
            loss: &pref,
            weight: 1.0,
        },
    ])?;
    let grads = loss.backward()?;
    let gradients =
        vars.map(|var| values(grads.get(&var).expect("every argument is differentiable")));
    Ok((scalar(&loss), gradients))
}

fn oracle_total(errors: &[Errors], labels: &[f64], beta: f64) -> f64 {
    let ells: Vec<f64> = errors.iter().map(|&e| oracle::ell(e)).collect();
    let theta: Vec<f64> = errors.iter().map(|e| e.theta_ref).collect();
    oracle::l_sim(&theta) + oracle::l_pref(&ells, labels, beta)
}

fn errors() -> impl Strategy<Value = Errors> {
    (0.0..4.0, 0.0..4.0, 0.0..4.0, 0.0..4.0).prop_map(
        |(base_ref, theta_ref, base_gen, theta_gen)| Errors {
            base_ref,
            theta_ref,
            base_gen,
            theta_gen,
        },
    )
}

fn batch() -> impl Strategy<Value = (Vec<Errors>, Vec<f64>)> {
    (1usize..5).prop_flat_map(|n| {
        (
            prop::collection::vec(errors(), n),
            prop::collection::vec(0.0..=1.0, n),
        )
    })
}

proptest! {
    #[test]
    fn the_tensors_agree_with_the_oracle((errors, labels) in batch(), beta in 0.01..60.0f64) {
        let expected = oracle_total(&errors, &labels, beta);
        let (loss, _) = forward_and_backward(&errors, &labels, beta, DType::F64).unwrap();
        prop_assert!(close(loss, expected, 1e-13), "{} against {}", loss, expected);
        let (loss, _) = forward_and_backward(&errors, &labels, beta, DType::F32).unwrap();
        prop_assert!(close(loss, expected, 1e-6 * (1.0 + beta)), "{} against {}", loss, expected);
    }

    #[test]
    fn gradients_are_those_of_the_oracle((errors, labels) in batch(), beta in 0.01..8.0f64) {
        let (_, gradients) = forward_and_backward(&errors, &labels, beta, DType::F64).unwrap();
        let h = 1e-5;
        for sample in 0..errors.len() {
            for (argument, gradient) in gradients.iter().enumerate() {
                let at = |delta: f64| {
                    let mut moved = errors.clone();
                    let e = &mut moved[sample];
                    *[&mut e.base_ref, &mut e.theta_ref, &mut e.base_gen, &mut e.theta_gen][argument] += delta;
                    oracle_total(&moved, &labels, beta)
                };
                let numeric = (at(h) - at(-h)) / (2.0 * h);
                let analytic = gradient[sample];
                prop_assert!(close(analytic, numeric, 1e-6), "argument {}: {} against {}", argument, analytic, numeric);
            }
        }
    }

    #[test]
    fn l_pref_falls_with_ell_where_the_reference_is_preferred(l in -5.0..5.0f64, more in 0.0..5.0f64, beta in 0.1..9.0f64) {
        let at = |l: f64, y: f64| scalar(&l_pref(&tensor(&[l]), &tensor(&[y]), beta).unwrap());
        prop_assert!(at(l + more, 1.0) <= at(l, 1.0) + 1e-12);
        prop_assert!(at(l + more, 0.0) >= at(l, 0.0) - 1e-12);
        prop_assert!(at(l, 1.0) >= 0.0 && at(l, 0.0) >= 0.0);
        // Swapping the two pictures and the label changes nothing.
        prop_assert!((at(l, 1.0) - at(-l, 0.0)).abs() < 1e-12);
    }

    #[test]
    fn ell_rises_with_the_base_errors_on_references_only(e in errors(), more in 0.0..1.0f64) {
        let at = |e: Errors| {
            let l = ell(&tensor(&[e.base_ref]), &tensor(&[e.theta_ref]), &tensor(&[e.base_gen]), &tensor(&[e.theta_gen]));
            values(&l.unwrap())[0]
        };
        let l = at(e);
        prop_assert!((at(Errors { base_ref: e.base_ref + more, ..e }) >= l), "at {:?}", e);
        prop_assert!((at(Errors { theta_ref: e.theta_ref + more, ..e }) <= l), "at {:?}", e);
        prop_assert!((at(Errors { base_gen: e.base_gen + more, ..e }) <= l), "at {:?}", e);
        prop_assert!((at(Errors { theta_gen: e.theta_gen + more, ..e }) >= l), "at {:?}", e);
    }

    #[test]
    fn the_order_of_samples_does_not_matter((errors, labels) in batch(), shift in 0usize..5) {
        let (loss, _) = forward_and_backward(&errors, &labels, 3.0, DType::F64).unwrap();
        let (mut errors, mut labels) = (errors, labels);
        let shift = shift % labels.len();
        errors.rotate_left(shift);
        labels.rotate_left(shift);
        let (rotated, _) = forward_and_backward(&errors, &labels, 3.0, DType::F64).unwrap();
        prop_assert!((loss - rotated).abs() < 1e-12);
    }
}

#[test]
fn at_the_start_the_gradient_is_half_minus_the_label() {
    // The trained model is the base model: ℓ = 0, the kink of max(z, 0).
    for dtype in [DType::F32, DType::F64] {
        for (label, beta) in [(0.0, 1.0), (1.0, 1.0), (0.25, 50.0)] {
            let var = Var::from_tensor(&tensor(&[0.0]).to_dtype(dtype).unwrap()).unwrap();
            let loss = l_pref(&var, &tensor(&[label]).to_dtype(dtype).unwrap(), beta).unwrap();
            assert!((scalar(&loss) - 2f64.ln()).abs() < 1e-7);
            let gradient = values(loss.backward().unwrap().get(&var).unwrap())[0];
            assert!(
                (gradient - beta * (0.5 - label)).abs() < 1e-6 * beta,
                "{dtype:?} y {label}: {gradient}"
            );
        }
    }
}

#[test]
fn ten_thousand_either_way_is_finite() {
    for dtype in [DType::F32, DType::F64] {
        for ell in [1e4, -1e4] {
            for label in [0.0, 0.5, 1.0] {
                let var = Var::from_tensor(&tensor(&[ell]).to_dtype(dtype).unwrap()).unwrap();
                let loss = l_pref(&var, &tensor(&[label]).to_dtype(dtype).unwrap(), 1.0).unwrap();
                let expected = oracle::l_pref(&[ell], &[label], 1.0);
                assert!(
                    (scalar(&loss) - expected).abs() <= 1e-6 * 1e4,
                    "{} against {expected}",
                    scalar(&loss)
                );
                let gradient = values(loss.backward().unwrap().get(&var).unwrap())[0];
                assert!(
                    (gradient - (oracle::sigmoid(ell) - label)).abs() < 1e-7,
                    "ℓ {ell}, y {label}: {gradient}"
                );
            }
        }
    }
}

#[test]
fn the_sum_is_the_mean_times_the_elements() {
    let (prediction, target) = ([0.5, -1.0, 2.0, 0.0], [0.0, 1.0, 1.5, -0.5]);
    let mean = tensor(&[oracle::squared_error(&prediction, &target, true)]);
    let sum = oracle::squared_error(&prediction, &target, false);
    assert!((values(&Norm::Sum.of_mean_squares(&mean, 4).unwrap())[0] - sum).abs() < 1e-15);
    assert_eq!(
        values(&Norm::Mean.of_mean_squares(&mean, 4).unwrap()),
        values(&mean)
    );
}

#[test]
fn with_the_sum_and_a_label_of_0_the_two_losses_cancel_on_the_reference() {
    // σ(ℓ) -> 1, y = 0: the gradient of L_pref on theta_ref is -1, that of L_sim +1.
    let errors = [Errors {
        base_ref: 40.0,
        theta_ref: 10.0,
        base_gen: 30.0,
        theta_gen: 30.0,
    }];
    let (_, gradients) =
        forward_and_backward(&errors, &[0.0], Recipe::paper().beta, DType::F64).unwrap();
    assert!(gradients[1][0].abs() < 1e-12, "{gradients:?}");
    assert!((gradients[3][0] - 1.0).abs() < 1e-12);
}

#[test]
fn terms_of_weight_0_leave_the_graph() {
    let (a, b) = (
        Var::new(2.0f64, &Device::Cpu).unwrap(),
        Var::new(3.0f64, &Device::Cpu).unwrap(),
    );
    let sum = total(&[
        Term {
            loss: &a,
            weight: 0.5,
        },
        Term {
            loss: &b,
            weight: 0.0,
        },
    ])
    .unwrap();
    assert_eq!(scalar(&sum), 1.0);
    let grads = sum.backward().unwrap();
    assert!(grads.get(&a).is_some() && grads.get(&b).is_none());
    let error = total(&[Term {
        loss: &a,
        weight: 0.0,
    }])
    .unwrap_err()
    .to_string();
    assert!(error.contains("every loss has weight 0"), "{error}");
    assert!(
        total(&[Term {
            loss: &tensor(&[1.0]),
            weight: 1.0
        }])
        .is_err()
    );
}

#[test]
fn shapes_that_do_not_match_are_named() {
    let (two, one) = (tensor(&[1.0, 2.0]), tensor(&[1.0]));
    let error = ell(&two, &one, &two, &two).unwrap_err().to_string();
    assert!(
        error.contains("theta_ref has shape") || error.contains("and theta_ref"),
        "{error}"
    );
    assert!(l_pref(&two, &one, 1.0).is_err());
    assert!(
        l_pref(
            &two.reshape((1, 2)).unwrap(),
            &two.reshape((1, 2)).unwrap(),
            1.0
        )
        .is_err()
    );
}
