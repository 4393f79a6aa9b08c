//! AVX-512 and AVX2 with FMA.

use super::registers::{Kernel, Simd, exp2_of_rest};
use std::arch::x86_64::*;

/// AVX-512; the private field prevents construction on other machines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512(());

/// AVX2 and FMA.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2(());

impl Avx2 {
    pub(crate) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
    }
}

impl Avx512 {
    pub(crate) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && Avx2::detect().is_some();
        found.then_some(Self(()))
    }
}

impl Simd for Avx512 {
    type V = __m512;
    type Half = Avx2;
    const LANES: usize = 16;
    const PAIRS: usize = 12;

    #[inline(always)]
    fn half(self) -> Avx2 {
        Avx2(())
    }

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2,fma")]
        #[inline(never)]
        fn avx512<K: Kernel>(simd: Avx512, kernel: K) -> K::Output {
            kernel.run(simd)
        }
        // SAFETY: `self` exists only where these instructions do.
        unsafe { avx512(self, kernel) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        // SAFETY: as in `call`.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Self::V {
        // SAFETY: as in `call`, and the caller's promise.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: Self::V) {
        // SAFETY: as in `call`, and the caller's promise.
        unsafe { _mm512_storeu_ps(to, v) }
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: as in `call`.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: as in `call`.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: as in `call`.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // SAFETY: as in `call`.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: as in `call`.
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    fn equal(self, a: Self::V, b: Self::V) -> bool {
        // SAFETY: as in `call`.
        unsafe { _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b) == u16::MAX }
    }

    #[inline(always)]
    fn exp2(self, x: Self::V) -> Self::V {
        // SAFETY: as in `call`.
        unsafe {
            // x minus its nearest integer, 0 for an infinity.
            let r = _mm512_reduce_ps::<0>(x);
            _mm512_scalef_ps(exp2_of_rest(self, r), _mm512_sub_ps(x, r))
        }
    }
}

impl Simd for Avx2 {
    type V = __m256;
    type Half = Self;
    const LANES: usize = 8;
    const PAIRS: usize = 6;

    #[inline(always)]
    fn half(self) -> Self {
        self
    }

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx2,fma")]
        #[inline(never)]
        fn avx2<K: Kernel>(simd: Avx2, kernel: K) -> K::Output {
            kernel.run(simd)
        }
        // SAFETY: `self` exists only where these instructions do.
        unsafe { avx2(self, kernel) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        // SAFETY: as in `call`.
        unsafe { _mm256_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Self::V {
        // SAFETY: as in `call`, and the caller's promise.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: Self::V) {
        // SAFETY: as in `call`, and the caller's promise.
        unsafe { _mm256_storeu_ps(to, v) }
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: as in `call`.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: as in `call`.
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: as in `call`.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // SAFETY: as in `call`.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: as in `call`.
        unsafe { _mm256_max_ps(a, b) }
    }

    #[inline(always)]
    fn equal(self, a: Self::V, b: Self::V) -> bool {
        // SAFETY: as in `call`.
        unsafe { _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_EQ_OQ>(a, b)) == 0xff }
    }

    #[inline(always)]
    fn exp2(self, x: Self::V) -> Self::V {
        // 2^-127 with the polynomial at 0, which is 1, gives the bits of 0.
        let x = self.max(self.splat(-127.0), x);
        // Adding 1.5 * 2^23 rounds to an integer, which is then in the low bits of the sum.
        let round = self.splat(12_582_912.0);
        let shifted = self.add(x, round);
        let p = exp2_of_rest(self, self.sub(x, self.sub(shifted, round)));
        // SAFETY: as in `call`.
        unsafe {
            let exponent = _mm256_slli_epi32::<23>(_mm256_castps_si256(shifted));
            let scaled = _mm256_add_epi32(exponent, _mm256_castps_si256(p));
            // The low bits of a NaN are not an exponent.
            let nan = _mm256_cmp_ps::<_CMP_UNORD_Q>(x, x);
            _mm256_or_ps(_mm256_castsi256_ps(scaled), nan)
        }
    }
}
