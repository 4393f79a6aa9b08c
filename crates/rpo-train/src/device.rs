//! Where the networks of a run compute: `model.device` and `model.dtype`.

use anyhow::Result;
use rpo_experiment::device::{Wanted, check, parse};
use rpo_files::failure::BadInput;
use rpo_files::tell;
use rpo_nn::Place;

/// Whether this program was built with the feature `cuda`.
pub const KNOWS_CUDA: bool = cfg!(feature = "cuda");

/// An opened device.
pub struct Chosen {
    /// Device and dtype of activations.
    pub place: Place,
    /// The two keys, resolved: `cuda:0` and `bf16`.
    pub keys: [String; 2],
    /// Why the device is not the expected one.
    pub note: Option<String>,
}

/// The device argument of a command.
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

    /// Opens it, for activations of `dtype`; also returns its description, `None` for the CPU.
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
    /// Prints where networks will compute, unless it is the CPU without a note. Returns the device's description.
    pub fn tell(&self) -> Option<String> {
        if let Some(note) = &self.note {
            tell!("{note}");
        }
        let device = describe(&self.place, &self.keys);
        if let Some(device) = &device {
            tell!("computing on {device}");
        }
        device
    }
}

/// Opens the device. `auto` takes the first GPU if this build supports CUDA and a GPU exists, else the CPU.
///
/// # Errors
/// [`BadInput`] if the requested GPU cannot be used.
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
        "model.device: this program was built without CUDA and cannot compute on cuda:{ordinal}\n  hint: cargo run -p rpo-train --features cuda -- …, \
         or device = \"cpu\""
    )))
}

/// Description of the device for reports: `cuda:0 NVIDIA H100 80GB HBM3, bf16`; `None` is the CPU.
pub fn describe(place: &Place, keys: &[String; 2]) -> Option<String> {
    #[cfg(feature = "cuda")]
    if !place.is_cpu() {
        let name = rpo_nn::gpu::name(place.device()).unwrap_or_default();
        return Some(format!("{} {name}, {}", keys[0], keys[1]));
    }
    let _ = (place, keys);
    None
}

/// The device line of reports: `cpu, 2 threads, avx512f, kernels 3`.
pub fn machine(device: Option<&str>) -> String {
    let device = device.unwrap_or("cpu");
    format!(
        "{device}, {} threads, {}, kernels {}",
        rayon::current_num_threads(),
        rpo_nn::simd_level(),
        rpo_nn::KERNELS_VERSION
    )
}

#[cfg(all(test, not(feature = "cuda")))]
mod tests {
    use super::open;

    #[test]
    fn a_build_without_cuda_says_so() {
        assert!(open("auto", "auto").unwrap().place.is_cpu());
        let message = open("cuda", "auto").err().unwrap().to_string();
        assert!(message.contains("--features cuda"), "{message}");
    }
}
