//! The data of a report: plain values, no paths.
//!
//! [`ReportData`] is the only input of [`render`](super::render). It is serialised to JSON unchanged and
//! read by the page's script, so field names here are the names used in `page.js`. A number that could not
//! be computed is `None`, never NaN.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub use crate::table::{Beside, Cost};
pub use rpo_experiment::Published;
pub use rpo_reward::Mean;
pub use rpo_reward::select::Kind as RuleKind;

pub use super::picture::Picture;
pub use super::table::{
    Cell, Difference, Equivalence, KindValues, Metric, RowKind, SubjectValues, TestRow, TestTable,
};

/// The report of one finished or interrupted run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ReportData {
    /// Heading of the page, e.g. "λ ablation".
    pub title: String,
    /// Name of the experiment file without its extension, e.g. `ablation_lambda`.
    pub name: String,
    /// First line of the experiment file: the table or figure that it reproduces.
    pub description: String,
    /// When the run ended, as shown, e.g. `2025-03-01 14:02 UTC`.
    pub created: String,
    /// Version of the program that made the run.
    pub version: String,
    /// What was run, on what.
    pub setup: Setup,
    /// Time by phase.
    pub times: Times,
    /// What each `[[arm]]` of the file changes; empty for a file without arms.
    #[serde(default)]
    pub arms: Vec<ArmKeys>,
    /// Every selection rule; its index fixes its colour everywhere.
    pub rules: Vec<Rule>,
    /// One entry for each arm, subject and seed.
    pub trajectories: Vec<Trajectory>,
    /// Results on test prompts and test noise; `None` until they are computed.
    pub test: Option<TestTable>,
    /// Costs of the arms, and published rows.
    #[serde(default)]
    pub beside: Beside,
    /// Test pictures by subject and prompt.
    pub samples: Vec<SampleRow>,
    /// The resolved experiment file, every key written out.
    pub settings: String,
    /// Notes for the reader: warnings, what was skipped.
    pub notes: Vec<String>,
}

/// An arm, and how it differs from the others.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ArmKeys {
    /// Its name, as in [`Trajectory::arm`].
    pub name: String,
    /// The keys that it replaces, as an experiment file would write them: `recipe.l_pref_weight = 0.0`.
    pub keys: Vec<String>,
}

/// What was run, on what.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Setup {
    /// Number of trajectories that were planned; 0 in reports of earlier versions.
    #[serde(default)]
    pub cells: usize,
    /// Base model, e.g. `micro`.
    pub model: String,
    /// Recipes of the arms, e.g. `paper`.
    pub recipes: Vec<String>,
    /// The networks that score, and what each one replaces.
    pub encoders: Vec<Encoder>,
    /// Where it ran, e.g. `cpu, 2 threads, avx512f`.
    pub device: String,
    /// Seeds of the run.
    pub seeds: Vec<u64>,
    /// Maximum number of gradient steps per trajectory, of the longest arm.
    pub steps: usize,
    /// Gradient steps between two validations; where arms differ, the fewest.
    pub validation_interval: usize,
    /// Validations after step 0 in every arm, where their number is given; else 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub candidates: usize,
    /// Pictures drawn at each validation of a trajectory.
    pub validation_pictures: usize,
    /// Test pictures for each prompt.
    pub test_pictures_per_prompt: usize,
    /// Number of test prompts of a subject.
    pub test_prompts: usize,
    /// Negatives drawn from the base model for each subject, of the arm with the most.
    pub negatives: usize,
    /// Solver of the sampler, e.g. `dpm-solver++ 2M`.
    pub solver: String,
    /// Steps of the sampler.
    pub sampler_steps: usize,
    /// Classifier-free guidance scale.
    pub guidance: f64,
    /// The part of the trajectory that is guided, if not all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guidance_interval: Option<[f64; 2]>,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// A network that scores pictures.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Encoder {
    /// Its role in the run: `reward`, `CLIP`, `ViT`.
    pub role: String,
    /// Its name, e.g. `micro reward`.
    pub name: String,
    /// What it replaces, e.g. `in place of ALIGN (kakaobrain/align-base)`.
    pub stands_for: String,
}

/// Total seconds of all cells, which may have run in parallel. The parts need not add up to the total.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Times {
    /// From the start of each cell to its end, over all starts, without loading the model.
    pub total: f64,
    /// Drawing negatives and scoring them.
    pub negatives: f64,
    /// Gradient steps.
    pub training: f64,
    /// Drawing and scoring validation pictures.
    pub validation: f64,
    /// Drawing and scoring test pictures.
    pub test: f64,
}

/// A selection rule.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Rule {
    /// Unique name, e.g. `harmonic-0.3`.
    pub id: String,
    /// Shown to the reader, e.g. `λ = 0.3 harmonic`.
    pub label: String,
    /// Best or last.
    pub kind: RuleKind,
    /// Mean of the reward. Unused for [`RuleKind::Last`].
    pub mean: Mean,
    /// Weight of the image, λ_val. Unused for [`RuleKind::Last`].
    pub lambda: f64,
    /// Consecutive validations without a new highest reward after which the rule stops; `None`: it never stops.
    pub patience: Option<usize>,
}

/// One training of one subject with one arm and seed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Trajectory {
    /// Unique name of the trajectory.
    pub id: String,
    /// Subject, as its folder is called.
    pub subject: String,
    /// Class word, e.g. `dog`.
    pub class: String,
    /// Arm of the experiment that changes training, e.g. `λ_train = 0.3`; empty when there is only one.
    pub arm: String,
    /// Seed.
    pub seed: u64,
    /// Number of the subject's photos; 0 in reports of earlier versions, which show all of them.
    #[serde(default)]
    pub photos: usize,
    /// The subject's own pictures.
    pub references: Vec<Picture>,
    /// Some of the negatives, drawn with the base model.
    pub negatives: Vec<Picture>,
    /// Validation prompts, filled in; [`PictureScore::prompt`] is an index into this list.
    pub validation_prompts: Vec<String>,
    /// Prompts of the pictures shown in every [`Validation::strip`], in the same order.
    pub strip_prompts: Vec<String>,
    /// Validations in order of steps; step 0 is the base model.
    pub validations: Vec<Validation>,
    /// Losses, thinned by the caller.
    pub training: Vec<TrainingPoint>,
    /// Steps whose trained weights are on disk.
    pub kept_steps: Vec<usize>,
    /// Variants of weights on disk, with their step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept_variants: Vec<(usize, String)>,
    /// The step at which training ended.
    pub stopped_step: usize,
    /// The outcome of each rule, in the order of [`ReportData::rules`].
    pub outcomes: Vec<RuleOutcome>,
    /// How far an unfinished trajectory is, as shown: `trained to step 120 of 240, still running`. Its outcomes are those if it ended now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unfinished: Option<String>,
}

/// The scores of one checkpoint on the validation prompts.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Validation {
    /// Gradient steps taken.
    pub step: usize,
    /// Which weights of this step, where not the trained ones: `EMA`, `scale 0.4`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// One entry per picture.
    pub pictures: Vec<PictureScore>,
    /// A few of the pictures, with the same prompts and noise at every step.
    pub strip: Vec<Picture>,
}

/// Both alignments of one validation picture, each in [0, 1].
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct PictureScore {
    /// Index of its prompt in [`Trajectory::validation_prompts`].
    pub prompt: usize,
    /// ALIGN-I.
    pub image: f64,
    /// ALIGN-T.
    pub text: f64,
}

/// Losses of one gradient step, or their mean over the steps since the previous point.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Point")]
pub struct TrainingPoint {
    /// Gradient step, from 1.
    pub step: usize,
    /// The unweighted terms of the loss by name: `sim` (L_sim, Eq. 7), `pref` (L_pref, Eq. 8), `prior`, `preservation`, `consistency`,
    /// `weak_denoising`, `contrastive`.
    #[serde(default)]
    pub terms: BTreeMap<String, f64>,
    /// The minimised loss.
    pub loss: f64,
    /// Global norm of the gradient before clipping.
    pub grad_norm: f64,
}

/// A point as this version writes it, or as 0.1.0 did, which had two terms.
#[derive(Deserialize)]
struct Point {
    step: usize,
    #[serde(default)]
    terms: BTreeMap<String, f64>,
    l_sim: Option<f64>,
    l_pref: Option<f64>,
    loss: f64,
    grad_norm: f64,
}

impl From<Point> for TrainingPoint {
    fn from(point: Point) -> Self {
        let mut terms = point.terms;
        terms.extend(point.l_sim.map(|value| ("sim".to_owned(), value)));
        terms.extend(point.l_pref.map(|value| ("pref".to_owned(), value)));
        Self {
            step: point.step,
            terms,
            loss: point.loss,
            grad_norm: point.grad_norm,
        }
    }
}

/// The outcome of a rule on one trajectory.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RuleOutcome {
    /// [`Rule::id`].
    pub rule: String,
    /// Step of the chosen checkpoint.
    pub chosen_step: usize,
    /// Which weights of this step, where not the trained ones: `EMA`, `scale 0.4`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub chosen_variant: String,
    /// Step of the validation at which it stopped; `None`: it did not stop early.
    pub stopped_at_step: Option<usize>,
    /// The reason, as a sentence.
    pub reason: String,
    /// Mean validation reward at the chosen step; `None` for [`RuleKind::Last`].
    pub reward_chosen: Option<f64>,
    /// Mean validation reward at step 0; `None` for [`RuleKind::Last`].
    pub reward_step0: Option<f64>,
    /// 95 % interval of their difference over the validation prompts.
    pub difference_interval: Option<[f64; 2]>,
}

/// The test pictures of one prompt, side by side.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SampleRow {
    /// [`Trajectory::id`].
    pub trajectory: String,
    /// Test prompt, filled in.
    pub prompt: String,
    /// One entry per row of the test table.
    pub pictures: Vec<Sample>,
}

/// A test picture.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sample {
    /// [`TestRow::id`] of its row; empty in reports of earlier versions.
    #[serde(default)]
    pub row: String,
    /// Column head, e.g. `step 0`; in a report without `row`, one that equals a [`Rule::label`] gets that rule's mark.
    pub label: String,
    /// Step of the checkpoint.
    pub step: usize,
    /// Which weights of this step, where not the trained ones: `EMA`, `scale 0.4`; of step 0 how its arm draws, where in a way of its
    /// own: `reward guidance 3`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// The picture.
    pub picture: Picture,
}
