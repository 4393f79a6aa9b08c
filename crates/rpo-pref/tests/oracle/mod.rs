//! An independent implementation of the losses from Eq. 6-9: plain f64 sums over every element.

/// σ by the hyperbolic tangent, which does not overflow and differs from the library's form.
pub(crate) fn sigmoid(z: f64) -> f64 {
    0.5 + 0.5 * (0.5 * z).tanh()
}

/// log σ(z), by the numerically stable side.
pub(crate) fn log_sigmoid(z: f64) -> f64 {
    if z < 0.0 {
        z - z.exp().ln_1p()
    } else {
        -(-z).exp().ln_1p()
    }
}

/// `||a - b||²` over one sample's elements: their sum, or their mean.
pub(crate) fn squared_error(a: &[f64], b: &[f64], mean: bool) -> f64 {
    let mut sum = 0.0;
    for k in 0..a.len() {
        sum += (a[k] - b[k]) * (a[k] - b[k]);
    }
    if mean { sum / a.len() as f64 } else { sum }
}

/// Squared errors of one pair: of the base and of the trained model, on the reference and on the generated picture.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Errors {
    pub(crate) base_ref: f64,
    pub(crate) theta_ref: f64,
    pub(crate) base_gen: f64,
    pub(crate) theta_gen: f64,
}

pub(crate) fn ell(e: Errors) -> f64 {
    e.base_ref - e.theta_ref - e.base_gen + e.theta_gen
}

pub(crate) fn l_pref(ells: &[f64], labels: &[f64], beta: f64) -> f64 {
    let mut sum = 0.0;
    for (l, y) in ells.iter().zip(labels) {
        sum -= y * log_sigmoid(beta * l) + (1.0 - y) * log_sigmoid(-beta * l);
    }
    sum / ells.len() as f64
}

pub(crate) fn l_sim(theta_ref: &[f64]) -> f64 {
    theta_ref.iter().sum::<f64>() / theta_ref.len() as f64
}
