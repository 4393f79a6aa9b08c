//! Scalar functions written so that loops over them vectorise; sums with a fixed tree.
//!
//! Every function here propagates NaN and is generic over `FMA` (see [`crate::simd`]).

/// Lanes of a sum: partial sum `i` takes the elements `i, i + 16, ..`, whatever the width of the registers.
pub(crate) const LANES: usize = 16;

/// `a * b + c`, fused where that is one instruction.
#[inline(always)]
pub(crate) fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// e^x, relative error below 2e-7. 0 below -87.33 (no subnormals), infinity above 88.37.
///
/// x = n ln 2 + r with |r| <= ln 2 / 2; polynomial of Cephes' `expf` for e^r.
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    // `clamp` keeps NaN.
    exp_of_clamped::<FMA>(x, x.clamp(LOWEST, 89.0))
}

/// Below it e^x is subnormal.
const LOWEST: f32 = -87.336_54;

#[inline(always)]
fn exp_of_clamped<const FMA: bool>(x: f32, clamped: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to an integer, which is then in the low bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    let shifted = fma::<FMA>(clamped, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = fma::<FMA>(n, -0.693_359_4, clamped);
    let r = fma::<FMA>(n, 2.121_944_4e-4, r);
    let mut p = 1.987_569_1e-4;
    p = fma::<FMA>(p, r, 1.398_199_9e-3);
    p = fma::<FMA>(p, r, 8.333_452e-3);
    p = fma::<FMA>(p, r, 4.166_579_6e-2);
    p = fma::<FMA>(p, r, 1.666_666_5e-1);
    p = fma::<FMA>(p, r, 0.5);
    p = fma::<FMA>(p, r * r, r) + 1.0;
    // 2^n; n = 128 gives the bits of infinity.
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    if x < LOWEST { 0.0 } else { p * scale }
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub(crate) fn sigmoid<const FMA: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<FMA>(-x))
}

/// erf(x), relative error below 2e-7: a polynomial near 0, 1 - e^polynomial beyond (N. Juffa's `erff`).
#[inline(always)]
pub(crate) fn erf<const FMA: bool>(x: f32) -> f32 {
    let (t, s) = (x.abs(), x * x);
    let mut p = -5.967_617e-4;
    p = fma::<FMA>(p, s, 4.991_194_2e-3);
    p = fma::<FMA>(p, s, -2.676_813_5e-2);
    p = fma::<FMA>(p, s, 1.128_199_2e-1);
    p = fma::<FMA>(p, s, -3.761_253_4e-1);
    p = fma::<FMA>(p, s, 1.283_791_7e-1);
    let near = fma::<FMA>(p, x, x);
    let mut q = fma::<FMA>(-1.728_534_7e-5, t, 3.831_971_3e-4);
    q = fma::<FMA>(q, s, fma::<FMA>(-3.883_964_4e-3, t, 2.425_462_2e-2));
    q = fma::<FMA>(q, t, -1.067_778_8e-1);
    q = fma::<FMA>(q, t, -6.348_467e-1);
    q = fma::<FMA>(q, t, -1.287_175_1e-1);
    q = fma::<FMA>(q, t, -t);
    let far = (1.0 - exp::<FMA>(q)).copysign(x);
    if t > 0.927_734_4 { far } else { near }
}

/// tanh(x), relative error below 3e-7.
#[inline(always)]
pub(crate) fn tanh<const FMA: bool>(x: f32) -> f32 {
    // Near 0 the formula with the exponential cancels: Cephes' polynomial.
    let s = x * x;
    let mut p = -5.704_988_7e-3;
    p = fma::<FMA>(p, s, 2.063_909e-2);
    p = fma::<FMA>(p, s, -5.373_971e-2);
    p = fma::<FMA>(p, s, 1.333_144_2e-1);
    p = fma::<FMA>(p, s, -3.333_328e-1);
    let near = fma::<FMA>(p * s, x, x);
    let far = (1.0 - 2.0 / (exp::<FMA>(2.0 * x.abs()) + 1.0)).copysign(x);
    if x.abs() < 0.625 { near } else { far }
}

/// Sum with [`LANES`] partial sums, which are then added in pairs.
#[inline(always)]
pub(crate) fn sum<const FMA: bool>(x: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] += chunk[i];
        }
    }
    for i in 0..rest.len() {
        lanes[i] += rest[i];
    }
    fold(lanes)
}

/// Dot product with [`LANES`] partial sums. Both slices have the same length.
#[inline(always)]
pub(crate) fn dot<const FMA: bool>(x: &[f32], y: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let (cx, cy) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    let (rx, ry) = (cx.remainder(), cy.remainder());
    for (a, b) in cx.zip(cy) {
        for i in 0..LANES {
            lanes[i] = fma::<FMA>(a[i], b[i], lanes[i]);
        }
    }
    for i in 0..rx.len() {
        lanes[i] = fma::<FMA>(rx[i], ry[i], lanes[i]);
    }
    fold(lanes)
}

/// Sum of (x - mean)^2 with [`LANES`] partial sums.
#[inline(always)]
pub(crate) fn sum_squared_from<const FMA: bool>(x: &[f32], mean: f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for i in 0..LANES {
            let d = chunk[i] - mean;
            lanes[i] = fma::<FMA>(d, d, lanes[i]);
        }
    }
    for i in 0..rest.len() {
        let d = rest[i] - mean;
        lanes[i] = fma::<FMA>(d, d, lanes[i]);
    }
    fold(lanes)
}

/// Sum of the lanes, in pairs.
#[inline(always)]
pub(crate) fn fold(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// erf by its all-positive series, for f64 oracles.
    fn erf64(x: f64) -> f64 {
        let (mut term, mut total, mut n) = (x, x, 0.0);
        while term.abs() > 1e-18 * total.abs() && n < 400.0 {
            n += 1.0;
            term *= 2.0 * x * x / (2.0 * n + 1.0);
            total += term;
        }
        if x.abs() > 6.0 {
            return x.signum();
        }
        total * 2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp()
    }

    fn grid(lo: f64, hi: f64) -> impl Iterator<Item = f32> {
        (0..=200_000).map(move |i| (lo + (hi - lo) * f64::from(i) / 200_000.0) as f32)
    }

    fn both(f: fn(f32) -> f32, g: fn(f32) -> f32, oracle: fn(f64) -> f64, x: f32) -> (f64, f64) {
        let want = oracle(f64::from(x));
        let worst = (f64::from(f(x)) - want)
            .abs()
            .max((f64::from(g(x)) - want).abs());
        (worst, want.abs())
    }

    #[test]
    fn exp_is_good_to_2e_7() {
        for x in grid(-87.3, 88.3) {
            let (error, size) = both(exp::<true>, exp::<false>, f64::exp, x);
            assert!(error <= 2e-7 * size, "exp({x}): {}", error / size);
        }
        assert_eq!(exp::<true>(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp::<true>(-1e30), 0.0);
        assert_eq!(exp::<true>(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp::<true>(100.0), f32::INFINITY);
        assert_eq!(exp::<true>(0.0), 1.0);
    }

    #[test]
    fn erf_is_good_to_2e_7() {
        for x in grid(-7.0, 7.0).chain(grid(-1e-3, 1e-3)) {
            let (error, size) = both(erf::<true>, erf::<false>, erf64, x);
            assert!(error <= 2e-7 * size, "erf({x}): {}", error / size);
        }
        assert_eq!(erf::<true>(f32::INFINITY), 1.0);
        assert_eq!(erf::<false>(-1e30), -1.0);
    }

    #[test]
    fn tanh_and_sigmoid_are_good_to_3e_7() {
        for x in grid(-20.0, 20.0) {
            let (error, size) = both(tanh::<true>, tanh::<false>, f64::tanh, x);
            assert!(error <= 3e-7 * size, "tanh({x}): {}", error / size);
            let (error, size) = both(
                sigmoid::<true>,
                sigmoid::<false>,
                |x| 1.0 / (1.0 + (-x).exp()),
                x,
            );
            assert!(error <= 3e-7 * size, "sigmoid({x}): {}", error / size);
        }
        assert_eq!(sigmoid::<true>(-1000.0), 0.0);
        assert_eq!(sigmoid::<true>(1000.0), 1.0);
        assert_eq!(tanh::<true>(-1000.0), -1.0);
    }

    #[test]
    fn nan_stays_nan() {
        for f in [
            exp::<true>,
            exp::<false>,
            sigmoid::<true>,
            sigmoid::<false>,
            erf::<true>,
            erf::<false>,
            tanh::<true>,
            tanh::<false>,
        ] {
            assert!(f(f32::NAN).is_nan());
        }
        assert!(sum::<true>(&[1.0, f32::NAN]).is_nan());
    }

    #[test]
    fn sums_of_every_length() {
        for n in 0..70usize {
            let x: Vec<f32> = (0..n).map(|i| i as f32 - 7.0).collect();
            let want: f64 = x.iter().map(|&v| f64::from(v)).sum();
            assert_eq!(f64::from(sum::<true>(&x)), want);
            let squares: f64 = x.iter().map(|&v| f64::from(v * v)).sum();
            assert_eq!(f64::from(dot::<true>(&x, &x)), squares);
            assert_eq!(f64::from(sum_squared_from::<false>(&x, 0.0)), squares);
        }
    }
}
