//! An instruction set and a computation on its registers.

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
    /// Maximum rows of sums, each of two registers, that leave room for the operands. Of one register: 12.
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
pub(super) fn exp2_of_rest<S: Simd>(s: S, r: S::V) -> S::V {
    let mut p = s.splat(EXP2[5]);
    p = s.mul_add(p, r, s.splat(EXP2[4]));
    p = s.mul_add(p, r, s.splat(EXP2[3]));
    p = s.mul_add(p, r, s.splat(EXP2[2]));
    p = s.mul_add(p, r, s.splat(EXP2[1]));
    p = s.mul_add(p, r, s.splat(EXP2[0]));
    s.mul_add(p, r, s.splat(1.0))
}
