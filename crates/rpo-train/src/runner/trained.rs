//! What a trajectory trains: a copy of the U-Net's tensors, or adapters over the base's own.

use super::settings;
use super::setup::{Setup, fingerprint};
use crate::files;
use anyhow::{Context, Result};
use candle_core::backprop::GradStore;
use rpo_data::random;
use rpo_diffusion::UNet2DConditionModel;
use rpo_diffusion::lora::{Adapters, LoraConfig};
use rpo_experiment::TrainingArm;
use rpo_nn::optim;
use rpo_nn::weights::Params;

/// The trained tensors and the networks that are built on them.
pub(super) struct Trained {
    /// What the optimiser changes and what state files hold.
    pub(super) params: Params,
    /// The adapters, if these are what is trained.
    pub(super) adapters: Option<Adapters>,
    /// The network that learns.
    pub(super) theta: UNet2DConditionModel,
    /// The tensors it is built on.
    trainable: Params,
    /// Parameters of the whole network.
    pub(super) network: usize,
}

impl Trained {
    /// A start at the base model. With adapters the base's tensors are not copied: both networks and the reference read them.
    ///
    /// # Errors
    /// Tensor errors; a target that matches no layer.
    pub(super) fn new(setup: &Setup, arm: &TrainingArm, subject: &str, seed: u64) -> Result<Self> {
        let base = &setup.pipeline.unet_params;
        let adapters = match &arm.lora {
            Some(keys) => Some(start(base, &settings::lora(keys), subject, seed)?),
            None => None,
        };
        let (trainable, params) = match &adapters {
            Some(adapters) => (base.with_adapters(adapters), adapters.params().clone()),
            None => {
                let copy = setup.pipeline.trainable_unet()?;
                (copy.clone(), copy)
            }
        };
        let network = base.parameters();
        Ok(Self {
            theta: setup.pipeline.unet(&trainable)?,
            trainable,
            params,
            adapters,
            network,
        })
    }

    /// The network as it stands, without a graph, to be dropped before the next step.
    ///
    /// # Errors
    /// Tensor errors.
    pub(super) fn frozen(&self, setup: &Setup) -> Result<UNet2DConditionModel> {
        Ok(setup.pipeline.unet(&self.trainable.constant())?)
    }

    /// Hash of the network as it stands.
    ///
    /// # Errors
    /// Tensor errors.
    pub(super) fn fingerprint(&self, setup: &Setup) -> Result<String> {
        match &self.adapters {
            Some(adapters) => adapted_fingerprint(setup, adapters),
            None => fingerprint(&self.params.detached()),
        }
    }

    /// Draws the dropout masks of a step. They depend on the subject, the seed and the step alone, so that a resumed run has them
    /// again.
    pub(super) fn begin_step(&self, subject: &str, seed: u64, step: usize) {
        if let Some(adapters) = &self.adapters {
            let mut stream = random::stream(seed, "dropout", &[subject, &step.to_string()]);
            adapters.set_dropout_key(Some(rand::RngCore::next_u64(&mut stream)));
        }
    }

    /// Nothing is dropped until the next [`Self::begin_step`].
    pub(super) fn end_step(&self) {
        if let Some(adapters) = &self.adapters {
            adapters.set_dropout_key(None);
        }
    }

    /// Every tensor must learn. An adapter's A cannot at step 1, while its B is 0: it must at step 2.
    ///
    /// # Errors
    /// Names the first tensor without a finite gradient that is not 0.
    pub(super) fn check_gradients(&self, step: usize, grads: &GradStore) -> Result<()> {
        let mut vars = self.params.vars();
        match (step, &self.adapters) {
            (1, None) => {}
            (1, Some(_)) => vars.retain(|(name, _)| name.ends_with("lora_B.weight")),
            (2, Some(_)) => vars.retain(|(name, _)| name.ends_with("lora_A.weight")),
            _ => return Ok(()),
        }
        Ok(optim::check_gradients(&vars, grads)?)
    }
}

fn start(base: &Params, config: &LoraConfig, subject: &str, seed: u64) -> Result<Adapters> {
    let mut unit = |module: &str, n: usize| {
        let mut stream = random::stream(seed, "lora", &[subject, module]);
        (0..n).map(|_| random::unit(&mut stream)).collect()
    };
    Adapters::new(base, config, &mut unit).context("adapters")
}

/// Hash of the base with adapters over it.
///
/// # Errors
/// Tensor errors.
pub(super) fn adapted_fingerprint(setup: &Setup, adapters: &Adapters) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(setup.base_weights.as_bytes());
    for (name, module) in adapters.modules()? {
        hasher.update(&module.alpha.to_le_bytes());
        files::hash_tensor(&mut hasher, &name, &module.a)?;
        files::hash_tensor(&mut hasher, &name, &module.b)?;
    }
    Ok(hasher.finalize().to_hex()[..32].to_owned())
}
