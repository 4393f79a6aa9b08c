//! Numbers as the page writes them.

/// Three decimals, with a true minus sign.
pub(super) fn number(value: f64) -> String {
    let text = format!("{:.3}", value.abs());
    let zero = text.bytes().all(|b| b == b'0' || b == b'.');
    format!("{}{text}", if value < 0.0 && !zero { "−" } else { "" })
}

/// The same, with a plus sign where it is positive.
pub(super) fn signed(value: f64) -> String {
    let text = number(value);
    if value > 0.0 && text != "0.000" {
        format!("+{text}")
    } else {
        text
    }
}

/// An interval of differences.
pub(super) fn interval([low, high]: [f64; 2]) -> String {
    format!("[{}, {}]", signed(low), signed(high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minus_zero_is_zero() {
        assert_eq!(number(-0.0001), "0.000");
        assert_eq!(number(-0.0016), "−0.002");
        assert_eq!(signed(0.0001), "0.000");
    }
}
