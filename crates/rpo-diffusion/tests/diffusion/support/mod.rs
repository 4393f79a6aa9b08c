//! Golden files of `scripts/golden/diffusion.py`, in PyTorch's layout, and distances to them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use candle_core::{DType, Device, Result, Tensor};
use rpo_diffusion::{Added, AutoencoderKL, Conditioning, NoiseSchedule, UNetConfig, VaeConfig};
use rpo_nn::weights::Params;

pub(crate) fn golden_path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(file)
}

pub(crate) fn micro(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../assets/micro")
        .join(part)
}

/// Runs `work` on the pool, one test at a time: a thread of the pool that waits in a kernel may take up the task of another test,
/// and would record it on the wrong tape.
pub(crate) fn on_pool<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    rpo_nn::on_pool(work)
}

/// One golden file.
pub(crate) struct Golden(HashMap<String, Tensor>);

impl Golden {
    pub(crate) fn load(name: &str) -> Result<Self> {
        let path = golden_path(&format!("{name}.safetensors"));
        Ok(Self(candle_core::safetensors::load(path, &Device::Cpu)?))
    }

    /// As stored.
    pub(crate) fn raw(&self, name: &str) -> Result<Tensor> {
        match self.0.get(name) {
            Some(tensor) => Ok(tensor.clone()),
            None => candle_core::bail!("no golden {name}"),
        }
    }

    /// NCHW to NHWC f32.
    pub(crate) fn nhwc(&self, name: &str) -> Result<Tensor> {
        self.raw(name)?
            .permute((0, 2, 3, 1))?
            .contiguous()?
            .to_dtype(DType::F32)
    }

    /// Text states.
    pub(crate) fn text(&self, name: &str) -> Result<Conditioning> {
        Ok(self.raw(name)?.into())
    }

    /// Text states with SDXL's added parts, where the file has them.
    pub(crate) fn conditioning(&self) -> Result<Conditioning> {
        let mut text = self.text("hidden")?;
        if self.0.contains_key("time_ids") {
            text.added = Some(Added {
                text_embeds: self.raw("text_embeds")?,
                time_ids: self.raw("time_ids")?,
            });
        }
        Ok(text)
    }

    pub(crate) fn f64s(&self, name: &str) -> Result<Vec<f64>> {
        self.raw(name)?
            .to_dtype(DType::F64)?
            .flatten_all()?
            .to_vec1()
    }

    pub(crate) fn timesteps(&self, name: &str) -> Result<Vec<usize>> {
        let values = self.raw(name)?.to_vec1::<i64>()?;
        Ok(values.into_iter().map(|t| t as usize).collect())
    }

    /// The tensors below a prefix, without it.
    pub(crate) fn below(&self, prefix: &str) -> HashMap<String, Tensor> {
        let strip =
            |(k, v): (&String, &Tensor)| Some((k.strip_prefix(prefix)?.to_owned(), v.clone()));
        self.0.iter().filter_map(strip).collect()
    }
}

pub(crate) fn f64s(t: &Tensor) -> Result<Vec<f64>> {
    t.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

/// `||a - b|| / ||b||`; infinite if a is not finite or the shapes differ.
pub(crate) fn relative(a: &Tensor, b: &Tensor) -> Result<f64> {
    if a.dims() != b.dims() {
        return Ok(f64::INFINITY);
    }
    let (a, b) = (f64s(a)?, f64s(b)?);
    let norm: f64 = b.iter().map(|x| x * x).sum();
    let off: f64 = a.iter().zip(&b).map(|(x, y)| (x - y) * (x - y)).sum();
    if off == 0.0 {
        // Also if both are 0.
        return Ok(0.0);
    }
    let ratio = (off / norm).sqrt();
    Ok(if ratio.is_nan() { f64::INFINITY } else { ratio })
}

/// Prints the distance and checks it against the tolerance.
#[track_caller]
pub(crate) fn assert_close(what: &str, a: &Tensor, b: &Tensor, tolerance: f64) {
    let figure = relative(a, b).unwrap();
    println!("{what}: relative L2 {figure:.2e}");
    assert!(
        figure <= tolerance,
        "{what}: relative L2 {figure:e} > {tolerance:e}"
    );
}

/// `noise()` of `scripts/golden/schedulers.py`: n values for step k.
pub(crate) fn step_noise(n: usize, k: usize) -> Vec<f32> {
    let z = |i: usize| 2f64.sqrt() * (1. + 3. * i as f64 + 7. * k as f64).sin();
    (0..n).map(|i| z(i) as f32).collect()
}

pub(crate) fn tiny_unet(
    name: &str,
    golden: &Golden,
    trainable: bool,
) -> Result<(UNetConfig, Params)> {
    let config = UNetConfig::load(&golden_path(&format!("{name}.json")))?;
    let weights = golden.below("weight.").into_iter();
    let weights = weights
        .map(|(k, v)| Ok((k, v.to_dtype(DType::F32)?)))
        .collect::<Result<HashMap<_, _>>>()?;
    Ok((config, Params::from_tensors(weights, name, trainable)?))
}

pub(crate) fn micro_unet(trainable: bool) -> Result<(UNetConfig, Params)> {
    let folder = micro("unet");
    Ok((
        UNetConfig::load(&folder.join("config.json"))?,
        Params::open(
            &folder.join("diffusion_pytorch_model.safetensors"),
            trainable,
        )?,
    ))
}

pub(crate) fn micro_vae() -> Result<AutoencoderKL> {
    let folder = micro("vae");
    let config = VaeConfig::load(&folder.join("config.json"))?;
    let params = Params::open(&folder.join("diffusion_pytorch_model.safetensors"), false)?;
    let vae = AutoencoderKL::new(&config, &params.root())?;
    assert_eq!(params.unused(), Vec::<String>::new());
    Ok(vae)
}

pub(crate) fn micro_schedule() -> Result<NoiseSchedule> {
    NoiseSchedule::load(&micro("scheduler/scheduler_config.json"))
}
