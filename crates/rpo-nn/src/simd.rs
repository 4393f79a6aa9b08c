//! Run-time choice of the instruction set.
//!
//! A kernel body is an `#[inline(always)]` function generic over `FMA`; [`simd!`] compiles it once per target and picks one
//! at run time, so that a plain `cargo run` uses what the machine has.

/// The instruction set that the kernels of this crate use on this machine: `"avx512f"`, `"avx2+fma"`, `"neon"` or
/// `"scalar"` (whatever the compiler's baseline is).
pub fn simd_level() -> &'static str {
    match level() {
        2 => "avx512f",
        1 if cfg!(target_arch = "aarch64") => "neon",
        1 => "avx2+fma",
        _ => "scalar",
    }
}

#[multiversion::multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512cd+avx512dq+avx512vl+avx2+fma+bmi1+bmi2",
    "x86_64+avx2+fma+bmi1+bmi2",
    "aarch64+neon"
))]
fn level() -> u8 {
    let target = multiversion::target::selected_target!();
    let x86 = cfg!(target_arch = "x86_64");
    let fma = cfg!(target_arch = "aarch64") || x86 && target.supports_feature_str("fma");
    u8::from(fma) + u8::from(x86 && target.supports_feature_str("avx512f"))
}

/// `simd! { /// doc  fn name(arg: Type, ..) -> Ret = body; }` defines `name`, which calls `body::<FMA>` compiled for the best
/// target. `FMA` is false where a fused multiply-add would be a call into libm.
macro_rules! simd {
    ($($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:ident;)+) => {$(
        $(#[$meta])*
        #[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512cd+avx512dq+avx512vl+avx2+fma+bmi1+bmi2", "x86_64+avx2+fma+bmi1+bmi2", "aarch64+neon"))]
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            // A feature unknown to the architecture is an error.
            const FMA: bool = cfg!(target_arch = "aarch64")
                || cfg!(target_arch = "x86_64") && multiversion::target::selected_target!().supports_feature_str("fma");
            if FMA {
                $body::<true>($($arg),*)
            } else {
                $body::<false>($($arg),*)
            }
        }
    )+};
}
pub(crate) use simd;

#[cfg(test)]
mod tests {
    #[test]
    fn level_agrees_with_the_machine() {
        let level = super::simd_level();
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx512vl") {
                assert_eq!(level, "avx512f");
            } else if std::arch::is_x86_feature_detected!("fma") {
                assert_eq!(level, "avx2+fma");
            }
        }
        #[cfg(target_arch = "aarch64")]
        assert_eq!(level, "neon");
        assert!(["avx512f", "avx2+fma", "neon", "scalar"].contains(&level));
    }
}
