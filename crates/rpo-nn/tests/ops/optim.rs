//! AdamW against the formula in f64, clipping, and the check of gradients.

use crate::oracle::{Array, distance, values};
use candle_core::{Device, Tensor, Var};
use rpo_nn::ops;
use rpo_nn::optim::{AdamW, AdamWConfig, Ema, check_gradients, clip_scale, global_norm};

const CONFIG: AdamWConfig = AdamWConfig {
    lr: 3e-2,
    beta1: 0.9,
    beta2: 0.99,
    eps: 1e-8,
    weight_decay: 0.1,
};

fn vars() -> Vec<(String, Var)> {
    vec![
        ("a".into(), Array::random(1, &[4, 5]).var()),
        ("b".into(), Array::random(2, &[3, 7, 2]).var()),
    ]
}

/// Sum of target · w · w over both variables.
fn loss(vars: &[(String, Var)], step: u64) -> Tensor {
    let mut total = Tensor::new(0f32, &Device::Cpu).unwrap();
    for (i, (_, v)) in vars.iter().enumerate() {
        let target = Array::random(step * 7 + i as u64, v.dims()).tensor();
        total = (total
            + (v.as_tensor() * v.as_tensor() * target)
                .unwrap()
                .sum_all()
                .unwrap())
        .unwrap();
    }
    total
}

/// A variable that stands still at first takes the steps of an optimiser that begins then, and needs no gradient before.
#[test]
fn a_late_variable_starts_as_if_alone() {
    let (late, alone) = (vars(), vars());
    let mut adamw = AdamW::new(CONFIG, late.clone()).unwrap();
    adamw.set_starts(|name| if name == "b" { 3 } else { 0 });
    let mut fresh = AdamW::new(CONFIG, alone.clone()).unwrap();
    let before = values(&late[1].1);
    for t in 1..=3 {
        adamw
            .set_rates(|name| if name == "b" { 0.0 } else { 1.0 })
            .unwrap();
        let grads = loss(&late[..1], t).backward().unwrap();
        adamw.step(&grads, 1.0).unwrap();
    }
    assert_eq!(values(&late[1].1), before);
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("moments");
    adamw.save_state(&state).unwrap();
    let mut adamw = AdamW::new(CONFIG, late.clone()).unwrap();
    adamw.set_starts(|name| if name == "b" { 3 } else { 0 });
    adamw.load_state(&state).unwrap();
    for t in 4..=9 {
        let grads = loss(&late, t).backward().unwrap();
        adamw.step(&grads, 1.0).unwrap();
        let grads = loss(&alone, t).backward().unwrap();
        fresh.step(&grads, 1.0).unwrap();
        assert_eq!(values(&late[1].1), values(&alone[1].1), "step {t}");
    }
    assert_ne!(values(&late[1].1), before);
}

#[test]
fn steps_follow_the_formula_and_shared_storage_sees_them() {
    let vars = vars();
    let seen: Vec<Tensor> = vars.iter().map(|(_, v)| v.as_detached_tensor()).collect();
    let mut adamw = AdamW::new(CONFIG, vars.clone()).unwrap();
    let rates = [1.0, 0.25];
    adamw
        .set_rates(|name| if name == "a" { rates[0] } else { rates[1] })
        .unwrap();
    assert!(
        AdamW::new(CONFIG, vars.clone())
            .unwrap()
            .set_rates(|_| f64::NAN)
            .is_err()
    );
    let mut w: Vec<Vec<f64>> = vars
        .iter()
        .map(|(_, v)| values(v).iter().map(|&x| f64::from(x)).collect())
        .collect();
    let mut m: Vec<Vec<f64>> = w.iter().map(|w| vec![0.0; w.len()]).collect();
    let mut v = m.clone();
    for t in 1..=10 {
        let scale = 1.0 / t as f64;
        let grads = loss(&vars, t).backward().unwrap();
        let c = CONFIG;
        for (i, (_, var)) in vars.iter().enumerate() {
            let lr = c.lr * rates[i];
            let g = values(grads.get(var).unwrap());
            for j in 0..g.len() {
                let g = f64::from(g[j]) * scale;
                m[i][j] = c.beta1 * m[i][j] + (1.0 - c.beta1) * g;
                v[i][j] = c.beta2 * v[i][j] + (1.0 - c.beta2) * g * g;
                let mean = m[i][j] / (1.0 - c.beta1.powi(t as i32));
                let root = (v[i][j] / (1.0 - c.beta2.powi(t as i32))).sqrt();
                w[i][j] = w[i][j] * (1.0 - lr * c.weight_decay) - lr * mean / (root + c.eps);
            }
        }
        adamw.step(&grads, scale).unwrap();
        for i in 0..w.len() {
            let error = distance(&values(&seen[i]), &w[i]);
            assert!(error < 2e-6 * t as f64, "step {t}, tensor {i}: {error:.2e}");
        }
    }
    assert_eq!(adamw.steps(), 10);
}

#[test]
fn clipping_brings_the_norm_down_to_the_limit() {
    let vars = vars();
    let grads = loss(&vars, 1).backward().unwrap();
    let want = vars
        .iter()
        .flat_map(|(_, v)| values(grads.get(v).unwrap()))
        .map(|g| f64::from(g).powi(2))
        .sum::<f64>()
        .sqrt();
    let norm = global_norm(&grads, &vars).unwrap();
    assert!((norm - want).abs() < 1e-12 * want && norm > 0.5);
    for limit in [1e-3, 0.1, 0.5, norm * 0.999] {
        let scale = clip_scale(norm, limit);
        let mut clipped = loss(&vars, 1).backward().unwrap();
        for (_, v) in &vars {
            let g = (clipped.get(v).unwrap() * scale).unwrap();
            clipped.insert(v, g);
        }
        let after = global_norm(&clipped, &vars).unwrap();
        assert!(
            after <= limit && after > 0.999_999 * limit,
            "{after} of {limit}"
        );
    }
    assert_eq!(clip_scale(norm, norm * 1.001), 1.0);
    assert_eq!(clip_scale(0.0, 1.0), 1.0);
}

#[test]
fn clipping_reaches_the_step() {
    // No momentum, and eps so large that the step is proportional to the gradient.
    let config = AdamWConfig {
        lr: 1.0,
        beta1: 0.0,
        beta2: 0.0,
        eps: 1e6,
        weight_decay: 0.0,
    };
    // Weights 0: a step of 1e-6 would be lost in f32 weights near 1.
    let step = |scale: f64| {
        let var = Var::zeros(3, candle_core::DType::F32, &Device::Cpu).unwrap();
        let target = Tensor::new(&[1f32, -2.0, 4.0], &Device::Cpu).unwrap();
        let grads = (var.as_tensor() * target)
            .unwrap()
            .sum_all()
            .unwrap()
            .backward()
            .unwrap();
        AdamW::new(config, vec![("x".into(), var.clone())])
            .unwrap()
            .step(&grads, scale)
            .unwrap();
        values(&var)
    };
    for (full, half) in step(1.0).iter().zip(step(0.5)) {
        assert!((half / full - 0.5).abs() < 1e-5, "{half} of {full}");
    }
}

#[test]
fn state_survives_a_restart() {
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("state.safetensors");
    let run = |restart: bool| {
        let vars = vars();
        let mut adamw = AdamW::new(CONFIG, vars.clone()).unwrap();
        for t in 1..=6 {
            if restart && t == 4 {
                adamw.save_state(&path).unwrap();
                adamw = AdamW::new(CONFIG, vars.clone()).unwrap();
                adamw.load_state(&path).unwrap();
                assert_eq!(adamw.steps(), 3);
            }
            adamw
                .step(&loss(&vars, t).backward().unwrap(), 1.0)
                .unwrap();
        }
        vars.iter()
            .flat_map(|(_, v)| values(v))
            .collect::<Vec<f32>>()
    };
    assert_eq!(run(false), run(true));
    run(true);
    let mut other = AdamW::new(CONFIG, vars()[..1].to_vec()).unwrap();
    assert!(
        other
            .load_state(&path)
            .unwrap_err()
            .to_string()
            .contains("b.exp_avg")
    );
    let mut other = AdamW::new(CONFIG, vec![("a".into(), Array::random(1, &[3]).var())]).unwrap();
    assert!(
        other
            .load_state(&path)
            .unwrap_err()
            .to_string()
            .contains("a.exp_avg")
    );
}

#[test]
fn gradients_that_train_nothing_are_named() {
    let vars = vars();
    let missing = vars[1].1.sum_all().unwrap().backward().unwrap();
    let message =
        |g: &candle_core::backprop::GradStore| check_gradients(&vars, g).unwrap_err().to_string();
    assert!(message(&missing).starts_with("a: no gradient"));
    assert!(global_norm(&missing, &vars).is_err());
    let mut adamw = AdamW::new(CONFIG, vars.clone()).unwrap();
    let before = values(&vars[1].1);
    assert!(
        adamw
            .step(&missing, 1.0)
            .unwrap_err()
            .to_string()
            .starts_with("a: no gradient")
    );
    assert_eq!(values(&vars[1].1), before);

    let good = || loss(&vars, 1).backward().unwrap();
    check_gradients(&vars, &good()).unwrap();
    let mut grads = good();
    grads.insert(&vars[1].1, vars[1].1.zeros_like().unwrap());
    assert!(message(&grads).starts_with("b: the gradient is 0"));
    let mut nan = values(&vars[1].1);
    nan[5] = f32::NAN;
    grads.insert(
        &vars[1].1,
        Tensor::from_vec(nan, vars[1].1.shape(), &Device::Cpu).unwrap(),
    );
    assert!(message(&grads).starts_with("b: the gradient is not finite"));
    assert!(global_norm(&grads, &vars).unwrap().is_nan());
}

#[test]
fn a_small_network_learns() {
    let w1 = Array::random(1, &[16, 3]).var();
    let w2 = Array::random(2, &[1, 16]).var();
    let (x, y) = (Array::random(3, &[64, 3]), Array::random(3, &[64, 3]));
    let y = Array::build(&[64, 1], |at| y.at(&[at[0], 0]) * y.at(&[at[0], 1])).tensor();
    let vars = vec![
        ("w1".to_string(), w1.clone()),
        ("w2".to_string(), w2.clone()),
    ];
    let mut adamw = AdamW::new(AdamWConfig { lr: 2e-2, ..CONFIG }, vars).unwrap();
    let mut losses = vec![];
    for _ in 0..200 {
        let h = ops::activation(
            &ops::linear(&x.tensor(), &w1, None).unwrap(),
            ops::Activation::Silu,
        )
        .unwrap();
        let out = ops::linear(&h, &w2, None).unwrap();
        let loss = ops::mean_squared_per_sample(&out, &y)
            .unwrap()
            .mean_all()
            .unwrap();
        losses.push(loss.to_scalar::<f32>().unwrap());
        adamw.step(&loss.backward().unwrap(), 1.0).unwrap();
    }
    assert!(
        losses[199] < 0.1 * losses[0],
        "{} to {}",
        losses[0],
        losses[199]
    );
}

#[test]
fn nonsense_is_refused() {
    assert!(AdamW::new(CONFIG, vec![]).is_err());
    assert!(
        AdamW::new(
            AdamWConfig {
                beta1: 1.0,
                ..CONFIG
            },
            vars()
        )
        .is_err()
    );
    assert!(
        AdamW::new(
            AdamWConfig {
                lr: f64::NAN,
                ..CONFIG
            },
            vars()
        )
        .is_err()
    );
}

#[test]
fn averages_follow_the_formula() {
    let (weights, averages) = (vars(), vars());
    let begin: Vec<Vec<f32>> = averages.iter().map(|(_, v)| values(v)).collect();
    let mut want: Vec<Vec<f64>> = begin
        .iter()
        .map(|v| v.iter().map(|&x| f64::from(x)).collect())
        .collect();
    let mut ema = Ema::new(0.3, averages.clone(), &weights, 0).unwrap();
    for n in 0..5u64 {
        for (i, (_, w)) in weights.iter().enumerate() {
            w.set(&Array::random(100 + n * 2 + i as u64, w.dims()).tensor())
                .unwrap();
        }
        ema.step().unwrap();
        let decay = f64::min(0.3, (1. + n as f64) / (10. + n as f64));
        for (want, (_, w)) in want.iter_mut().zip(&weights) {
            for (a, w) in want.iter_mut().zip(values(w)) {
                *a = decay * *a + (1. - decay) * f64::from(w);
            }
        }
    }
    for (want, (name, a)) in want.iter().zip(&averages) {
        let worst = want
            .iter()
            .zip(values(a))
            .map(|(w, a)| (w - f64::from(a)).abs())
            .fold(0., f64::max);
        assert!(worst < 1e-6, "{name}: {worst}");
    }
    assert!(Ema::new(1., averages.clone(), &weights, 0).is_err());
    assert!(Ema::new(0.9, averages[..1].to_vec(), &weights, 0).is_err());
}
