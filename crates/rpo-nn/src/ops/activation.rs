//! Elementwise activations.

use crate::autograd::{Differentiable, Gradient, View, apply1};
use crate::math;
use crate::parallel::{GRAIN, build};
use crate::simd::simd;
use candle_core::{Result, Tensor};
use std::f32::consts::FRAC_1_SQRT_2;

/// Elementwise function of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// x sigmoid(x), "swish".
    Silu,
    /// x Φ(x) with the exact erf.
    Gelu,
    /// x / 2 (1 + tanh(sqrt(2 / π) (x + 0.044715 x^3))), "gelu_new".
    GeluTanh,
    /// x sigmoid(1.702 x), CLIP's.
    QuickGelu,
    /// max(x, 0); the slope at 0 is 0.
    Relu,
    /// tanh(x).
    Tanh,
    /// 1 / (1 + e^-x).
    Sigmoid,
}

/// `function` of every element of `x`, of any shape.
///
/// # Errors
/// If the dtype is not f32.
pub fn activation(x: &Tensor, function: Activation) -> Result<Tensor> {
    apply1(function, x)
}

/// 1 / sqrt(2 π).
pub(super) const INV_SQRT_2PI: f32 = 0.398_942_3;
/// sqrt(2 / π).
const SQRT_2_OVER_PI: f32 = 0.797_884_6;
const CUBIC: f32 = 0.044_715;
const QUICK: f32 = 1.702;

/// Φ, the distribution function of N(0, 1).
#[inline(always)]
pub(super) fn normal_cdf<const FMA: bool>(x: f32) -> f32 {
    0.5 * (1.0 + math::erf::<FMA>(x * FRAC_1_SQRT_2))
}

/// The value of one activation and its derivative.
trait Function {
    fn value<const FMA: bool>(x: f32) -> f32;
    fn slope<const FMA: bool>(x: f32) -> f32;
}

struct Silu;
impl Function for Silu {
    #[inline(always)]
    fn value<const FMA: bool>(x: f32) -> f32 {
        x * math::sigmoid::<FMA>(x)
    }
    #[inline(always)]
    fn slope<const FMA: bool>(x: f32) -> f32 {
        let s = math::sigmoid::<FMA>(x);
        s * (1.0 + x * (1.0 - s))
    }
}

struct Gelu;
impl Function for Gelu {
    #[inline(always)]
    fn value<const FMA: bool>(x: f32) -> f32 {
        x * normal_cdf::<FMA>(x)
    }
    #[inline(always)]
    fn slope<const FMA: bool>(x: f32) -> f32 {
        normal_cdf::<FMA>(x) + x * INV_SQRT_2PI * math::exp::<FMA>(-0.5 * x * x)
    }
}

struct GeluTanh;
impl Function for GeluTanh {
    // (1 + tanh u) / 2 = sigmoid(2 u) has no cancellation.
    #[inline(always)]
    fn value<const FMA: bool>(x: f32) -> f32 {
        x * math::sigmoid::<FMA>(2.0 * SQRT_2_OVER_PI * x * (1.0 + CUBIC * x * x))
    }
    #[inline(always)]
    fn slope<const FMA: bool>(x: f32) -> f32 {
        let s = math::sigmoid::<FMA>(2.0 * SQRT_2_OVER_PI * x * (1.0 + CUBIC * x * x));
        let inner = 2.0 * SQRT_2_OVER_PI * (1.0 + 3.0 * CUBIC * x * x);
        s + x * s * (1.0 - s) * inner
    }
}

struct QuickGelu;
impl Function for QuickGelu {
    #[inline(always)]
    fn value<const FMA: bool>(x: f32) -> f32 {
        x * math::sigmoid::<FMA>(QUICK * x)
    }
    #[inline(always)]
    fn slope<const FMA: bool>(x: f32) -> f32 {
        let s = math::sigmoid::<FMA>(QUICK * x);
        s * (1.0 + QUICK * x * (1.0 - s))
    }
}

struct Relu;
impl Function for Relu {
    #[inline(always)]
    fn value<const FMA: bool>(x: f32) -> f32 {
        // Not `max`, which would drop NaN.
        if x < 0.0 { 0.0 } else { x }
    }
    #[inline(always)]
    fn slope<const FMA: bool>(x: f32) -> f32 {
        if x > 0.0 { 1.0 } else { 0.0 }
    }
}

struct Tanh;
impl Function for Tanh {
    #[inline(always)]
    fn value<const FMA: bool>(x: f32) -> f32 {
        math::tanh::<FMA>(x)
    }
    #[inline(always)]
    fn slope<const FMA: bool>(x: f32) -> f32 {
        let t = math::tanh::<FMA>(x);
        (1.0 - t) * (1.0 + t)
    }
}

struct Sigmoid;
impl Function for Sigmoid {
    #[inline(always)]
    fn value<const FMA: bool>(x: f32) -> f32 {
        math::sigmoid::<FMA>(x)
    }
    #[inline(always)]
    fn slope<const FMA: bool>(x: f32) -> f32 {
        let s = math::sigmoid::<FMA>(x);
        s * (1.0 - s)
    }
}

#[inline(always)]
fn values<F: Function, const FMA: bool>(x: &[f32], y: &mut [f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = F::value::<FMA>(x);
    }
}

/// y = f(y + b) row by row.
#[inline(always)]
fn biased_values<F: Function, const FMA: bool>(b: &[f32], y: &mut [f32]) {
    for y in y.chunks_mut(b.len().max(1)) {
        for (y, &b) in y.iter_mut().zip(b) {
            *y = F::value::<FMA>(*y + b);
        }
    }
}

#[inline(always)]
fn slopes<F: Function, const FMA: bool>(x: &[f32], grad: &[f32], dx: &mut [f32]) {
    for ((dx, &x), &g) in dx.iter_mut().zip(x).zip(grad) {
        *dx = g * F::slope::<FMA>(x);
    }
}

#[inline(always)]
fn forward_body<const FMA: bool>(f: Activation, x: &[f32], y: &mut [f32]) {
    match f {
        Activation::Silu => values::<Silu, FMA>(x, y),
        Activation::Gelu => values::<Gelu, FMA>(x, y),
        Activation::GeluTanh => values::<GeluTanh, FMA>(x, y),
        Activation::QuickGelu => values::<QuickGelu, FMA>(x, y),
        Activation::Relu => values::<Relu, FMA>(x, y),
        Activation::Tanh => values::<Tanh, FMA>(x, y),
        Activation::Sigmoid => values::<Sigmoid, FMA>(x, y),
    }
}

#[inline(always)]
fn biased_body<const FMA: bool>(f: Activation, b: &[f32], y: &mut [f32]) {
    match f {
        Activation::Silu => biased_values::<Silu, FMA>(b, y),
        Activation::Gelu => biased_values::<Gelu, FMA>(b, y),
        Activation::GeluTanh => biased_values::<GeluTanh, FMA>(b, y),
        Activation::QuickGelu => biased_values::<QuickGelu, FMA>(b, y),
        Activation::Relu => biased_values::<Relu, FMA>(b, y),
        Activation::Tanh => biased_values::<Tanh, FMA>(b, y),
        Activation::Sigmoid => biased_values::<Sigmoid, FMA>(b, y),
    }
}

#[inline(always)]
fn backward_body<const FMA: bool>(f: Activation, x: &[f32], grad: &[f32], dx: &mut [f32]) {
    match f {
        Activation::Silu => slopes::<Silu, FMA>(x, grad, dx),
        Activation::Gelu => slopes::<Gelu, FMA>(x, grad, dx),
        Activation::GeluTanh => slopes::<GeluTanh, FMA>(x, grad, dx),
        Activation::QuickGelu => slopes::<QuickGelu, FMA>(x, grad, dx),
        Activation::Relu => slopes::<Relu, FMA>(x, grad, dx),
        Activation::Tanh => slopes::<Tanh, FMA>(x, grad, dx),
        Activation::Sigmoid => slopes::<Sigmoid, FMA>(x, grad, dx),
    }
}

simd! {
    /// y = f(y + b) for every row of y, which is as long as b.
    pub(crate) fn biased(f: Activation, b: &[f32], y: &mut [f32]) = biased_body;
    fn forward(f: Activation, x: &[f32], y: &mut [f32]) = forward_body;
    fn backward(f: Activation, x: &[f32], grad: &[f32], dx: &mut [f32]) = backward_body;
}

/// y = f(y).
pub(crate) fn apply(f: Activation, y: &mut [f32]) {
    biased(f, &[0.0; 64], y);
}

impl Differentiable<1> for Activation {
    const NAME: &'static str = "activation";

    fn forward(&self, [x]: [View<'_>; 1]) -> Result<(Vec<f32>, Vec<usize>)> {
        let y = build(x.data.len(), GRAIN, |i, y| {
            forward(*self, &x.data[i * GRAIN..][..y.len()], y);
        });
        Ok((y, x.dims.to_vec()))
    }

    fn backward(
        &self,
        [x]: [View<'_>; 1],
        [wanted]: [bool; 1],
        _out: View<'_>,
        grad: View<'_>,
    ) -> Result<[Gradient; 1]> {
        Ok([Gradient::when(wanted, || {
            build(x.data.len(), GRAIN, |i, dx| {
                let span = i * GRAIN..i * GRAIN + dx.len();
                backward(*self, &x.data[span.clone()], &grad.data[span], dx);
            })
        })])
    }
}
