//! Registers of f32 as types, for kernels whose sums must stay in registers: no loop over arrays compiles to that reliably.
//!
//! A value of a [`Simd`] type is the proof that this machine has its instructions, so that everything but memory access is safe.
//! A kernel is generic over it, `#[inline(always)]` throughout, and entered by [`Simd::call`].

mod plain;
mod turn;
#[cfg(target_arch = "x86_64")]
mod x86;

use plain::Plain;
use std::sync::OnceLock;
pub(crate) use turn::turn_block;
#[cfg(target_arch = "x86_64")]
use x86::{Avx2, Avx512};

/// Most f32 of two registers.
pub(crate) const MOST_LANES: usize = 32;

/// A computation that is compiled for every instruction set.
pub(crate) trait Kernel {
    type Output;
    /// To be marked `#[inline(always)]`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// An instruction set.
pub(crate) trait Simd: Copy + Send + Sync {
    /// A register.
    type V: Copy;
    /// An instruction set of this machine with registers of half the width where there is one; else the same.
    type Half: Simd;
    /// f32 of a register.
    const LANES: usize;
    /// Most rows of sums, each of two registers, that leave room for what they are computed from. Of one register: 12.
    const PAIRS: usize;

    fn half(self) -> Self::Half;

    /// Runs `kernel`, compiled for these instructions.
    fn call<K: Kernel>(self, kernel: K) -> K::Output;

    fn splat(self, x: f32) -> Self::V;

    /// # Safety
    /// [`Simd::LANES`] elements from `from` on are readable.
    unsafe fn load(self, from: *const f32) -> Self::V;

    /// # Safety
    /// [`Simd::LANES`] elements from `to` on are writable.
    unsafe fn store(self, to: *mut f32, v: Self::V);

    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;

    /// a b + c, fused where that is one instruction.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;

    /// The larger of each pair; `b` where one of the two is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;

    /// Whether all lanes are equal, NaN to nothing.
    fn equal(self, a: Self::V, b: Self::V) -> bool;

    /// 2^x for x <= 0, relative error below 2e-7 where that is no subnormal number and else within 2^-126 of it; 0 for minus
    /// infinity; NaN stays NaN.
    fn exp2(self, x: Self::V) -> Self::V;
}

/// 2^r for |r| <= 1/2 is 1 + c1 r + .. + c6 r^6, relative error below 3e-9: minimax among the polynomials that are 1 at 0.
const EXP2: [f32; 6] = [
    6.931_472e-1,
    2.402_265_3e-1,
    5.550_310_6e-2,
    9.617_693e-3,
    1.340_664_4e-3,
    1.559_467_8e-4,
];

/// The polynomial [`EXP2`].
#[inline(always)]
fn exp2_of_rest<S: Simd>(s: S, r: S::V) -> S::V {
    let mut p = s.splat(EXP2[5]);
    p = s.mul_add(p, r, s.splat(EXP2[4]));
    p = s.mul_add(p, r, s.splat(EXP2[3]));
    p = s.mul_add(p, r, s.splat(EXP2[2]));
    p = s.mul_add(p, r, s.splat(EXP2[1]));
    p = s.mul_add(p, r, s.splat(EXP2[0]));
    s.mul_add(p, r, s.splat(1.0))
}

/// The instruction set in use.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Level {
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    Plain(Plain),
}

impl Level {
    /// All that this machine has, the best first.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = vec![];
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(Avx512::detect().map(Self::Avx512));
            all.extend(Avx2::detect().map(Self::Avx2));
        }
        all.push(Self::Plain(Plain));
        all
    }

    pub(crate) fn best() -> Self {
        static BEST: OnceLock<Level> = OnceLock::new();
        *BEST.get_or_init(|| Self::all()[0])
    }

    /// f32 of two registers.
    pub(crate) fn tile_lanes(self) -> usize {
        self.run(TileLanes)
    }

    /// Runs `kernel`, compiled for these instructions.
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(s) => s.call(kernel),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(s) => s.call(kernel),
            Self::Plain(s) => s.call(kernel),
        }
    }
}

struct TileLanes;

impl Kernel for TileLanes {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> usize {
        2 * S::LANES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Exp2<'a>(&'a mut [f32]);

    impl Kernel for Exp2<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            for x in self.0.chunks_exact_mut(S::LANES) {
                // SAFETY: the chunk holds `LANES` elements.
                unsafe {
                    let v = s.load(x.as_ptr());
                    s.store(x.as_mut_ptr(), s.exp2(v));
                }
            }
        }
    }

    fn exp2(level: Level, mut x: Vec<f32>) -> Vec<f32> {
        level.run(Exp2(&mut x));
        x
    }

    #[test]
    fn exp2_is_good_to_2e_7() {
        for level in Level::all() {
            let x: Vec<f32> = (0..4_000_000).map(|i| -i as f32 / 30_000.0).collect();
            for (&x, y) in x.iter().zip(exp2(level, x.clone())) {
                let (y, want) = (f64::from(y), f64::from(x).exp2());
                let bound = if x >= -126.0 { 2e-7 * want } else { 1.2e-38 };
                assert!((y - want).abs() <= bound, "{level:?} 2^{x}: {y} {want}");
            }
        }
    }

    #[test]
    fn exp2_at_the_ends() {
        for level in Level::all() {
            let ends = [
                0.0,
                -0.0,
                f32::NEG_INFINITY,
                -1e30,
                -1e4,
                f32::NAN,
                -f32::NAN,
            ];
            let mut x = vec![f32::from_bits(0x7fc1_2345); 16];
            x[..ends.len()].copy_from_slice(&ends);
            let y = exp2(level, x);
            assert_eq!(y[..5], [1.0, 1.0, 0.0, 0.0, 0.0], "{level:?}");
            assert!(y[5..].iter().all(|y| y.is_nan()), "{level:?} {y:?}");
        }
    }

    struct Lanes;

    impl Kernel for Lanes {
        type Output = [f32; 4];
        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> [f32; 4] {
            let (a, nan) = (s.splat(2.0), s.splat(f32::NAN));
            let mut sum = s.add(s.sub(a, s.splat(5.0)), s.mul(a, a));
            sum = s.mul_add(sum, a, a);
            assert!(s.equal(a, a) && !s.equal(a, sum) && !s.equal(nan, nan));
            let mut out = [[0f32; 16]; 4];
            let all = [sum, s.max(nan, a), s.max(a, sum), s.max(a, nan)];
            for (out, v) in out.iter_mut().zip(all) {
                // SAFETY: no register holds more than 16 elements.
                unsafe { s.store(out.as_mut_ptr(), v) };
            }
            out.map(|lanes| {
                let same = |x: &f32| x.to_bits() == lanes[0].to_bits();
                assert!(lanes[..S::LANES].iter().all(same));
                assert!(lanes[S::LANES..].iter().all(|&x| x == 0.0));
                lanes[0]
            })
        }
    }

    #[test]
    fn every_level_computes_the_same() {
        for level in Level::all() {
            let [sum, first_nan, larger, second_nan] = level.run(Lanes);
            assert_eq!([sum, first_nan, larger], [4.0, 2.0, 4.0], "{level:?}");
            assert!(second_nan.is_nan(), "{level:?}");
        }
    }

    #[test]
    fn the_best_level_is_the_one_that_is_named() {
        let name = match Level::best() {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512(_) => "avx512f",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2(_) => "avx2+fma",
            Level::Plain(_) if cfg!(target_arch = "aarch64") => "neon",
            Level::Plain(_) => "scalar",
        };
        assert_eq!(name, crate::simd_level());
    }
}
