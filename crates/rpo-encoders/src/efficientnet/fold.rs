//! A batch norm at inference is a scale and a shift per channel, which can be folded into the convolution before it.

use candle_core::{Device, Result, Tensor, bail};
use rpo_nn::weights::Scope;

/// Scale γ / √(σ² + ε) and shift β - μ γ / √(σ² + ε) of every channel.
pub(super) struct BatchNorm {
    scale: Vec<f64>,
    shift: Vec<f64>,
}

impl BatchNorm {
    /// # Errors
    /// If a tensor is missing or has another shape, or a variance gives no finite scale.
    pub(super) fn new(scope: &Scope, channels: usize, eps: f64) -> Result<Self> {
        let read = |name: &str| -> Result<Vec<f64>> {
            let values = scope.tensor(name, &[channels])?.to_vec1::<f32>()?;
            Ok(values.into_iter().map(f64::from).collect())
        };
        let (gamma, beta) = (read("weight")?, read("bias")?);
        let (mean, variance) = (read("running_mean")?, read("running_var")?);
        let scale: Vec<f64> = gamma
            .iter()
            .zip(&variance)
            .map(|(g, v)| g / (v + eps).sqrt())
            .collect();
        if let Some(channel) = scale.iter().position(|s| !s.is_finite()) {
            bail!(
                "batch norm, channel {channel}: running_var {} gives no finite scale",
                variance[channel]
            );
        }
        let shift = beta
            .iter()
            .zip(&mean)
            .zip(&scale)
            .map(|((b, m), s)| b - m * s)
            .collect();
        Ok(Self { scale, shift })
    }

    /// The bias of the folded convolution.
    pub(super) fn bias(&self) -> Result<Tensor> {
        let values: Vec<f32> = self.shift.iter().map(|s| *s as f32).collect();
        Tensor::from_vec(values, self.shift.len(), &Device::Cpu)
    }

    /// `weight`, whose last dimension is the output channel, with every channel scaled.
    pub(super) fn scale_last(&self, weight: &Tensor) -> Result<Tensor> {
        let mut values = weight.flatten_all()?.to_vec1::<f32>()?;
        for row in values.chunks_exact_mut(self.scale.len()) {
            for (w, s) in row.iter_mut().zip(&self.scale) {
                *w = (f64::from(*w) * s) as f32;
            }
        }
        Tensor::from_vec(values, weight.shape(), &Device::Cpu)
    }

    /// `weight`, whose first dimension is the output channel, with every channel scaled.
    pub(super) fn scale_first(&self, weight: &Tensor) -> Result<Tensor> {
        let mut values = weight.flatten_all()?.to_vec1::<f32>()?;
        let row = values.len() / self.scale.len();
        for (row, s) in values.chunks_exact_mut(row).zip(&self.scale) {
            for w in row {
                *w = (f64::from(*w) * s) as f32;
            }
        }
        Tensor::from_vec(values, weight.shape(), &Device::Cpu)
    }
}
