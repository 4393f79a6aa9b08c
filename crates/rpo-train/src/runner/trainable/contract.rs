//! The traits of training methods: [`Trainable`], the method, known without weights, and [`Trained`], its tensors and networks.

use anyhow::Result;
use rpo_data::subject::Subject;
use rpo_diffusion::lora::{About, Adapters};
use rpo_diffusion::{ImageAdapter, Pipeline, Texts, UNet2DConditionModel, Word};
use rpo_encoders::clip::ClipTextConfig;
use rpo_experiment::TrainedPart;
use rpo_nn::weights::Params;
use std::path::Path;

/// The training method of an arm, known before weights are read.
pub trait Trainable {
    /// The folder of kept checkpoints within a trajectory's folder, with one `step-N` each.
    fn folder(&self) -> &'static str;

    /// The files of a checkpoint, except its checksums, by path within its folder. `name` is its name for users.
    fn files(&self, name: &str) -> Vec<String>;

    /// The file of a checkpoint for other programs, by path within its folder; `None`: the folder itself.
    fn file(&self, _name: &str) -> Option<String> {
        None
    }

    /// Number of parameters it trains in a model of these shapes.
    ///
    /// # Errors
    /// If keys do not fit the model.
    fn parameters(&self, model: Shapes) -> Result<usize>;

    /// Numbers that a checkpoint holds in one form: more than are trained where untrained tensors are written too.
    ///
    /// # Errors
    /// If keys do not fit the model.
    fn stored(&self, model: Shapes) -> Result<usize> {
        self.parameters(model)
    }

    /// In how many forms a checkpoint is written.
    fn forms(&self) -> usize {
        1
    }

    /// Starts at the base model, so that [`Trained::unet`] predicts as the base does, for one subject. `unit(tensor, n)` gives `n`
    /// numbers in [0, 1) from the tensor's own stream.
    ///
    /// # Errors
    /// Tensor errors; if keys do not fit the model.
    fn start(&self, base: Base, subject: &Subject, unit: Unit) -> Result<Box<dyn Trained>>;

    /// Reads what [`Trained::save`] wrote into the folder `place` for the same model, for inference only. `scale` multiplies the
    /// change, 1 for the trained model.
    ///
    /// # Errors
    /// If a file is missing or damaged, by path; if there is a scale and nothing can be scaled.
    fn read(&self, base: Base, place: &Path, scale: f64) -> Result<Box<dyn Trained>>;
}

/// Names and shapes of a model's tensors.
#[derive(Clone, Copy)]
pub struct Shapes<'a> {
    /// The U-Net's.
    pub unet: &'a [(String, Vec<usize>)],
    /// The text encoders.
    pub texts: &'a [ClipTextConfig],
}

/// The base model.
#[derive(Clone, Copy)]
pub struct Base<'a> {
    /// The pipeline, with the frozen U-Net.
    pub pipeline: &'a Pipeline,
    /// Hash of this U-Net's weights.
    pub weights: &'a str,
}

/// Gives numbers in [0, 1) for the name of a tensor and a count.
pub type Unit<'a> = &'a mut dyn FnMut(&str, usize) -> Vec<f64>;

/// Trained tensors and the networks built on them.
pub trait Trained {
    /// The parameters that the optimiser changes and a saved state holds.
    fn params(&self) -> &Params;

    /// The part of the model that one of these tensors belongs to; `None`: the arm's part of the U-Net.
    fn part(&self, _tensor: &str) -> Option<TrainedPart> {
        None
    }

    /// Factor on the learning rate of one of these tensors, beside that of its part.
    fn rate(&self, _tensor: &str) -> f64 {
        1.0
    }

    /// The step of its part by which one of these tensors must have received a non-zero gradient, if the first step moves weights;
    /// 0: never.
    fn learns_by(&self, _tensor: &str) -> usize {
        1
    }

    /// Whether this tensor's share of the change is what a scale counts: all but one of factors of a product.
    fn scales(&self, _tensor: &str) -> bool {
        true
    }

    /// The trained network: its gradients are those of [`Self::params`].
    fn unet(&self) -> &UNet2DConditionModel;

    /// The text encoders, if they are trained: gradients of prompts that they encode on a tape are those of [`Self::params`].
    fn texts(&self) -> Option<&Texts> {
        None
    }

    /// The image adapter that adds to the references' texts in training, if there is one: its gradients are those of
    /// [`Self::params`]. Pictures are drawn without it.
    fn image_adapter(&self) -> Option<&ImageAdapter> {
        None
    }

    /// The current network, without a graph, to be dropped before the next step.
    ///
    /// # Errors
    /// Tensor errors.
    fn frozen(&self, base: Base) -> Result<UNet2DConditionModel>;

    /// The current text encoders, without a graph, if they are not the base's; to be dropped before the next step.
    ///
    /// # Errors
    /// Tensor errors.
    fn frozen_texts(&self, _base: Base) -> Result<Option<Texts>> {
        Ok(None)
    }

    /// The adapters, if they are what is trained of the U-Net, and the targets that selected their modules, where known: for files that
    /// hold those of text encoders too.
    fn adapters(&self) -> Option<(&Adapters, Option<&[String]>)> {
        None
    }

    /// All tensors of an ordinary U-Net with the same predictions, for the export of a whole model.
    ///
    /// # Errors
    /// Tensor errors.
    fn merged(&self, base: Base) -> Result<Params>;

    /// The new words of the current text encoders.
    ///
    /// # Errors
    /// Tensor errors.
    fn words(&self) -> Result<Vec<Word>> {
        Ok(Vec::new())
    }

    /// All tensors of each text encoder, in the order of the model's, if they were trained.
    ///
    /// # Errors
    /// Tensor errors.
    fn text_encoders(&self) -> Result<Vec<Params>> {
        Ok(Vec::new())
    }

    /// Hash of the current network, under which its pictures are cached.
    ///
    /// # Errors
    /// Tensor errors.
    fn fingerprint(&self) -> Result<String>;

    /// Called before the passes of a step; `key` depends on the subject, the seed and the step alone, so that a resumed run gets
    /// the same one.
    fn begin_step(&self, _key: u64) {}

    /// Called after the passes of a step and before anything is drawn.
    fn end_step(&self) {}

    /// Called after the optimiser has changed [`Self::params`].
    ///
    /// # Errors
    /// Tensor errors.
    fn after_step(&self) -> Result<()> {
        Ok(())
    }

    /// Writes the weights of a checkpoint into the folder `place`; returns which of [`Trainable::files`] it wrote.
    ///
    /// # Errors
    /// I/O errors, by path.
    fn save(&self, base: Base, place: &Path, about: &About) -> Result<Vec<String>>;
}
