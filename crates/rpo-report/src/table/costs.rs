//! What each arm costs for a subject, and published rows beside the results.

use rpo_experiment::Published;
use serde::{Deserialize, Serialize};

/// What an arm costs for one subject: means over its finished trainings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// The arm.
    pub arm: String,
    /// The model.
    pub backbone: String,
    /// What is trained.
    pub trains: String,
    /// Gradient steps at most.
    pub iterations: usize,
    /// Gradient steps that were taken.
    pub steps: f64,
    /// Pictures to train on that are drawn: negatives and class pictures by the base model, those of rounds by the trained one.
    pub pictures: usize,
    /// U-Net forwards of these pictures, of training (a backward counts as two) and validation.
    pub forwards: f64,
    /// Seconds that were spent on the same, with their scoring: pictures that another arm has drawn before are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Trained parameters.
    pub parameters: Option<usize>,
    /// Bytes of the weights of a checkpoint, in one form.
    pub bytes: Option<u64>,
}

/// What stands beside the results.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Beside {
    /// By arm, in their order.
    #[serde(default)]
    pub costs: Vec<Cost>,
    /// Published rows.
    #[serde(default)]
    pub published: Vec<Published>,
}
