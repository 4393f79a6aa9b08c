//! Numbers on the command line.

/// A finite number: Rust reads `nan`, `inf` and `1e999` as numbers too.
///
/// # Errors
/// If it is none, for clap.
pub(in crate::cli) fn finite(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        Ok(number) => Err(format!("{number} is no finite number")),
        Err(e) => Err(e.to_string()),
    }
}
