//! Values that are not finite, found and told.

use crate::simd::simd;
use candle_core::{Result, Tensor, bail};

/// The first value that is NaN or infinite in a tensor of this shape, with its index: `value [3, 0] is NaN`.
pub fn not_finite(values: &[f32], shape: &[usize]) -> Option<String> {
    let place = first_not_finite(values)?;
    let value = values.get(place)?;
    Some(format!("value {:?} is {value}", index(place, shape)))
}

/// Passes a tensor on if all its values are finite.
///
/// # Errors
/// `WHAT: value [3, 0] of [4, 2] is NaN`, followed by `hint`; if it is not f32 on the CPU.
pub fn all_finite(x: Tensor, what: impl FnOnce() -> String, hint: &str) -> Result<Tensor> {
    let values = x.flatten_all()?.to_vec1::<f32>()?;
    match first_not_finite(&values) {
        None => Ok(x),
        Some(place) => bail!(
            "{}: value {:?} of {:?} is {}\n  hint: {hint}",
            what(),
            index(place, x.dims()),
            x.dims(),
            values[place]
        ),
    }
}

/// The place of the first value that is NaN or infinite.
pub(crate) fn first_not_finite(values: &[f32]) -> Option<usize> {
    match any(values) {
        false => None,
        true => values.iter().position(|v| !v.is_finite()),
    }
}

/// The index in a tensor of this shape of its value at `place`, row by row.
pub(crate) fn index(place: usize, shape: &[usize]) -> Vec<usize> {
    let mut rest = place;
    let mut index: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&n| {
            let i = rest % n.max(1);
            rest /= n.max(1);
            i
        })
        .collect();
    index.reverse();
    index
}

/// NaN and the infinities are the values whose bits, without the sign, are not below those of infinity.
#[inline(always)]
fn any_body<const FMA: bool>(values: &[f32]) -> bool {
    let magnitude = |v: &f32| v.to_bits() & !(1 << 31);
    values.iter().map(magnitude).fold(0, u32::max) >= f32::INFINITY.to_bits()
}

simd! {
    fn any(values: &[f32]) -> bool = any_body;
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn every_place_is_looked_at() {
        let most = [f32::MAX, f32::MIN, -0.0, f32::MIN_POSITIVE, 1e-45];
        for n in 0..70 {
            let fine: Vec<f32> = (0..n).map(|i| most[i % most.len()]).collect();
            assert_eq!(not_finite(&fine, &[n]), None);
            for place in 0..n {
                for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    let mut values = fine.clone();
                    values[place] = bad;
                    assert_eq!(first_not_finite(&values), Some(place));
                    values[n - 1] = f32::NAN;
                    assert_eq!(first_not_finite(&values), Some(place), "the first");
                }
            }
        }
    }

    #[test]
    fn it_is_told_by_its_index() -> Result<()> {
        let mut values = vec![0.0; 24];
        values[17] = f32::NEG_INFINITY;
        let told = not_finite(&values, &[2, 3, 4]);
        assert_eq!(told.as_deref(), Some("value [1, 1, 1] is -inf"));
        assert_eq!(
            not_finite(&[f32::NAN], &[]).as_deref(),
            Some("value [] is NaN")
        );
        let x = Tensor::from_vec(values, (2, 3, 4), &Device::Cpu)?;
        let message = |x: Tensor| all_finite(x, || "latents".into(), "look");
        let told = message(x.clone()).err().map(|e| e.to_string());
        let told = told.unwrap_or_default();
        assert!(
            told.contains("latents: value [1, 1, 1] of [2, 3, 4] is -inf\n  hint: look"),
            "{told}"
        );
        // A view is read in its own order.
        let turned = message(x.transpose(0, 2)?).err().map(|e| e.to_string());
        assert!(
            turned
                .unwrap_or_default()
                .contains("[1, 1, 1] of [4, 3, 2]")
        );
        assert!(message(x.narrow(0, 0, 1)?).is_ok());
        Ok(())
    }
}
