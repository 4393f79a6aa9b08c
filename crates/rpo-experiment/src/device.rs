//! Parses `model.device` and `model.dtype`.

/// The device named by `model.device`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The first usable GPU if any, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU with this number.
    Cuda(usize),
}

/// Reads `model.device`.
///
/// # Errors
/// A message with the allowed values.
pub fn parse(device: &str) -> Result<Wanted, String> {
    match device.split_once(':') {
        None if device == "auto" => Ok(Wanted::Auto),
        None if device == "cpu" => Ok(Wanted::Cpu),
        None if device == "cuda" => Ok(Wanted::Cuda(0)),
        Some(("cuda", n)) if n.parse::<usize>().is_ok() => Ok(Wanted::Cuda(n.parse().unwrap_or(0))),
        _ => Err(format!(
            "`{device}` is no device\n  hint: \"auto\", \"cpu\", \"cuda\" or \"cuda:1\""
        )),
    }
}

/// Checks the two keys, independently of this machine's devices.
///
/// # Errors
/// The key that is wrong, and a message.
pub fn check(device: &str, dtype: &str) -> Result<(), (&'static str, String)> {
    let wanted = parse(device).map_err(|message| ("model.device", message))?;
    match (wanted, dtype) {
        (_, "auto" | "f32") | (Wanted::Cuda(_), "bf16") => Ok(()),
        (_, "bf16") => Err((
            "model.dtype",
            "the CPU computes in f32\n  hint: dtype = \"auto\", or device = \"cuda\"".into(),
        )),
        _ => Err((
            "model.dtype",
            format!("`{dtype}` is no dtype\n  hint: \"auto\", \"f32\" or \"bf16\""),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn keys_are_checked_before_a_device_is_looked_for() {
        for device in ["auto", "cpu", "cuda", "cuda:3"] {
            assert_eq!(check(device, "auto"), Ok(()), "{device}");
            assert_eq!(check(device, "f32"), Ok(()), "{device}");
        }
        assert_eq!(check("cuda:1", "bf16"), Ok(()));
        for (device, dtype, key) in [
            ("gpu", "auto", "model.device"),
            ("cuda:x", "auto", "model.device"),
            ("cpu", "bf16", "model.dtype"),
            ("cuda", "fp8", "model.dtype"),
        ] {
            assert_eq!(check(device, dtype).unwrap_err().0, key, "{device} {dtype}");
        }
    }
}
