//! The choice of an instruction set.

use super::plain::Plain;
use super::registers::{Kernel, Simd};
#[cfg(target_arch = "x86_64")]
use super::x86::{Avx2, Avx512};
use std::sync::OnceLock;

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
    /// The instruction sets of this machine, best first.
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
