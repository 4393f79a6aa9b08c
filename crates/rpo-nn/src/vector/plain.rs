//! Four f32 as an array, which the compiler's baseline turns into one register of SSE or NEON.

use super::registers::{Kernel, Simd, exp2_of_rest};
use crate::math::fma;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Plain;

/// A fused multiply-add is one instruction in the baseline.
const FUSED: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

/// `f` of each lane, written out: a loop is not always made one instruction.
macro_rules! lanes {
    (|$i:ident| $f:expr) => {
        [
            {
                let $i = 0;
                $f
            },
            {
                let $i = 1;
                $f
            },
            {
                let $i = 2;
                $f
            },
            {
                let $i = 3;
                $f
            },
        ]
    };
}

impl Simd for Plain {
    type V = [f32; 4];
    type Half = Self;
    const LANES: usize = 4;
    const PAIRS: usize = 6;

    #[inline(always)]
    fn half(self) -> Self {
        self
    }

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        #[inline(never)]
        fn plain<K: Kernel>(simd: Plain, kernel: K) -> K::Output {
            kernel.run(simd)
        }
        plain(self, kernel)
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [x; 4]
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { from.cast::<[f32; 4]>().read() }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: Self::V) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<[f32; 4]>().write(v) }
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        lanes!(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        lanes!(|i| a[i] - b[i])
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        lanes!(|i| a[i] * b[i])
    }

    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        lanes!(|i| fma::<FUSED>(a[i], b[i], c[i]))
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        lanes!(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn equal(self, a: Self::V, b: Self::V) -> bool {
        a == b
    }

    #[inline(always)]
    fn exp2(self, x: Self::V) -> Self::V {
        // 2^-127 with the polynomial at 0, which is 1, gives the bits of 0.
        let x = self.max([-127.0; 4], x);
        // Adding 1.5 * 2^23 rounds to an integer, which is then in the low bits of the sum.
        const ROUND: [f32; 4] = [12_582_912.0; 4];
        let shifted = self.add(x, ROUND);
        let p = exp2_of_rest(self, self.sub(x, self.sub(shifted, ROUND)));
        lanes!(|i| {
            let scaled = (shifted[i].to_bits() << 23).wrapping_add(p[i].to_bits());
            // The low bits of a NaN are not an exponent.
            if x[i].is_nan() {
                x[i]
            } else {
                f32::from_bits(scaled)
            }
        })
    }
}
