//! Where the networks of a run compute: `model.device` and `model.dtype`.

use crate::failure::BadInput;
use anyhow::Result;
use rpo_nn::Place;

/// Whether this program was built with the feature `cuda`.
pub const KNOWS_CUDA: bool = cfg!(feature = "cuda");

/// A device that was opened.
pub struct Chosen {
    /// Device and dtype of activations.
    pub place: Place,
    /// The keys with nothing left to choose, `cuda:0` and `bf16`.
    pub keys: [String; 2],
    /// Why it is another device than one might expect.
    pub note: Option<String>,
}

/// A device as an argument of a command.
#[derive(Clone, Debug, clap::Args)]
pub struct DeviceArgs {
    /// Where to compute: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: String,
}

impl DeviceArgs {
    /// The argument with this value.
    pub fn named(device: &str) -> Self {
        Self {
            device: device.to_owned(),
        }
    }

    /// Opens it, for activations of `dtype`; also returns its name in words, `None` for the CPU.
    ///
    /// # Errors
    /// [`BadInput`]: no such device.
    pub fn open(&self, dtype: &str) -> Result<(Place, Option<String>)> {
        if let Err((_, message)) = check(&self.device, dtype) {
            return Err(BadInput::new(format!("--device: {message}")));
        }
        let chosen = open(&self.device, dtype)?;
        let name = chosen.tell();
        Ok((chosen.place, name))
    }
}

impl Chosen {
    /// Says where networks will compute, unless it is the CPU without a reason. Returns the device in words.
    pub fn tell(&self) -> Option<String> {
        if let Some(note) = &self.note {
            eprintln!("{note}");
        }
        let device = describe(&self.place, &self.keys);
        if let Some(device) = &device {
            eprintln!("computing on {device}");
        }
        device
    }
}

/// The device that `model.device` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Auto,
    Cpu,
    Cuda(usize),
}

fn parse(device: &str) -> Result<Wanted, String> {
    match device.split_once(':') {
        None if device == "auto" => Ok(Wanted::Auto),
        None if device == "cpu" => Ok(Wanted::Cpu),
        None if device == "cuda" => Ok(Wanted::Cuda(0)),
        Some(("cuda", n)) if n.parse::<usize>().is_ok() => Ok(Wanted::Cuda(n.parse().unwrap_or(0))),
        _ => Err(format!(
            "`{device}` is no device\n  mend: \"auto\", \"cpu\", \"cuda\" or \"cuda:1\""
        )),
    }
}

/// What is wrong with the two keys, whatever this machine has: the key and a message.
pub fn check(device: &str, dtype: &str) -> Result<(), (&'static str, String)> {
    let wanted = parse(device).map_err(|message| ("model.device", message))?;
    match (wanted, dtype) {
        (_, "auto" | "f32") | (Wanted::Cuda(_), "bf16") => Ok(()),
        (_, "bf16") => Err((
            "model.dtype",
            "the CPU computes in f32\n  mend: dtype = \"auto\", or device = \"cuda\"".into(),
        )),
        _ => Err((
            "model.dtype",
            format!("`{dtype}` is no dtype\n  mend: \"auto\", \"f32\" or \"bf16\""),
        )),
    }
}

/// Opens the device. `auto` takes the first GPU where this program knows one and there is one, else the CPU.
///
/// # Errors
/// [`BadInput`] if a GPU is asked for and cannot be used.
pub fn open(device: &str, dtype: &str) -> Result<Chosen> {
    match parse(device).map_err(BadInput::new)? {
        Wanted::Cpu => Ok(cpu(None)),
        Wanted::Auto => Ok(match (KNOWS_CUDA, cuda(0, dtype)) {
            (_, Ok(chosen)) => chosen,
            (false, Err(_)) => cpu(None),
            (true, Err(e)) => cpu(Some(format!("computing on the CPU: {e:#}"))),
        }),
        Wanted::Cuda(ordinal) => cuda(ordinal, dtype),
    }
}

fn cpu(note: Option<String>) -> Chosen {
    Chosen {
        place: Place::default(),
        keys: ["cpu".into(), "auto".into()],
        note,
    }
}

#[cfg(feature = "cuda")]
fn cuda(ordinal: usize, dtype: &str) -> Result<Chosen> {
    use candle_core::DType;
    let device = rpo_nn::gpu::open(ordinal).map_err(|e| BadInput::new(e.to_string()))?;
    let (dtype, word) = match dtype {
        "f32" => (DType::F32, "f32"),
        _ => (DType::BF16, "bf16"),
    };
    Ok(Chosen {
        place: Place::new(device, dtype)?,
        keys: [format!("cuda:{ordinal}"), word.into()],
        note: None,
    })
}

#[cfg(not(feature = "cuda"))]
fn cuda(ordinal: usize, _dtype: &str) -> Result<Chosen> {
    Err(BadInput::new(format!(
        "model.device: this program was built without CUDA and cannot compute on cuda:{ordinal}\n  mend: cargo run -p rpo-train --features cuda -- …, \
         or device = \"cpu\""
    )))
}

/// The device in words, for reports: `cuda:0 NVIDIA H100 80GB HBM3, bf16`; `None` is the CPU.
pub fn describe(place: &Place, keys: &[String; 2]) -> Option<String> {
    #[cfg(feature = "cuda")]
    if !place.is_cpu() {
        let name = rpo_nn::gpu::name(place.device()).unwrap_or_default();
        return Some(format!("{} {name}, {}", keys[0], keys[1]));
    }
    let _ = (place, keys);
    None
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    #[cfg(not(feature = "cuda"))]
    fn a_build_without_cuda_says_so() {
        assert!(open("auto", "auto").unwrap().place.is_cpu());
        let message = open("cuda", "auto").err().unwrap().to_string();
        assert!(message.contains("--features cuda"), "{message}");
    }
}
