//! What every way to train promises: one trait for the way, known without weights, and one for what it has begun.

use anyhow::Result;
use rpo_diffusion::lora::About;
use rpo_diffusion::{Pipeline, UNet2DConditionModel};
use rpo_nn::weights::Params;
use std::path::Path;

/// The way of an arm: what is known of it before weights are read.
pub trait Trainable {
    /// The folder of its kept checkpoints within a trajectory's, which holds one `step-N` for each.
    fn folder(&self) -> &'static str;

    /// The files of a checkpoint but for its checksums, by path within its folder. `name` is what its user knows it by.
    fn files(&self, name: &str) -> Vec<String>;

    /// How many parameters it trains of a U-Net of these names and shapes.
    ///
    /// # Errors
    /// Keys that do not fit the U-Net.
    fn parameters(&self, unet: &[(String, Vec<usize>)]) -> Result<usize>;

    /// A start at the base model: with [`Trained::unet`] the base's predictions. `unit(tensor, n)` are `n` numbers of
    /// [0, 1) from a stream of the tensor's own.
    ///
    /// # Errors
    /// Tensor errors; keys that do not fit the U-Net.
    fn start(&self, base: Base, unit: Unit) -> Result<Box<dyn Trained>>;

    /// What [`Trained::save`] wrote into the folder `place` for the same model, to be used and not to be trained on. `scale`: how
    /// much it counts, 1 for what was trained.
    ///
    /// # Errors
    /// A missing or damaged file, by path; a scale where nothing can be scaled.
    fn read(&self, base: Base, place: &Path, scale: f64) -> Result<Box<dyn Trained>>;
}

/// The model that it is trained on.
#[derive(Clone, Copy)]
pub struct Base<'a> {
    /// With its frozen U-Net.
    pub pipeline: &'a Pipeline,
    /// Hash of this U-Net's weights.
    pub weights: &'a str,
}

/// Numbers of [0, 1), by the name of what they are for and their count.
pub type Unit<'a> = &'a mut dyn FnMut(&str, usize) -> Vec<f64>;

/// Trained tensors and the networks that are built on them.
pub trait Trained {
    /// What the optimiser changes and what a state holds.
    fn params(&self) -> &Params;

    /// What the learning rate of one of these tensors is multiplied by.
    fn rate(&self, _tensor: &str) -> f64 {
        1.0
    }

    /// The step by which one of these tensors must have received a gradient that is not 0.
    fn learns_by(&self, _tensor: &str) -> usize {
        1
    }

    /// The network that learns: its gradients are those of [`Self::params`].
    fn unet(&self) -> &UNet2DConditionModel;

    /// The network as it stands, without a graph, to be dropped before the next step.
    ///
    /// # Errors
    /// Tensor errors.
    fn frozen(&self, base: Base) -> Result<UNet2DConditionModel>;

    /// All tensors of a U-Net that predicts as this one does: what a whole model is exported with.
    ///
    /// # Errors
    /// Tensor errors.
    fn merged(&self, base: Base) -> Result<Params>;

    /// Hash of the network as it stands, whose pictures are kept under it.
    ///
    /// # Errors
    /// Tensor errors.
    fn fingerprint(&self) -> Result<String>;

    /// Before the passes of a step; `key` depends on the subject, the seed and the step alone, so that a resumed run has it
    /// again.
    fn begin_step(&self, _key: u64) {}

    /// After the passes of a step and before anything is drawn.
    fn end_step(&self) {}

    /// After the optimiser has changed [`Self::params`].
    ///
    /// # Errors
    /// Tensor errors.
    fn after_step(&self) -> Result<()> {
        Ok(())
    }

    /// Writes the weights of a checkpoint into the folder `place`, and returns which of [`Trainable::files`] they are.
    ///
    /// # Errors
    /// I/O errors, by path.
    fn save(&self, base: Base, place: &Path, about: &About) -> Result<Vec<String>>;
}
