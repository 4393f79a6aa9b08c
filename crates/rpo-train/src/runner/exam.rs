//! The test: pictures on test prompts and test noise from the checkpoints that rules chose. Every result comes from here.

use super::checkpoint;
use super::draw::Request;
use super::setup::Setup;
use super::state::{Folder, Latest, validations};
use crate::files;
use crate::progress::{Phase, Progress};
use anyhow::{Context, Result};
use image::RgbImage;
use rpo_eval::metrics::{ImageJudge, TextJudge};
use rpo_experiment::plan::{Cell, Purpose, Shot};
use rpo_reward::Score;
use rpo_reward::select::{self, Decision};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What one test picture scored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PictureResult {
    /// Place of its test prompt.
    pub prompt: usize,
    /// Number among that prompt's pictures.
    pub picture: usize,
    /// Mean cosine to the references, by the ViT judge.
    pub vit_i: f64,
    /// Mean cosine to the references, by the CLIP judge.
    pub clip_i: f64,
    /// Cosine to the prompt, by the CLIP judge.
    pub clip_t: f64,
    /// The reward encoder's pair, for λ-means on test pictures.
    pub score: Score,
}

/// `test/step-000120.json`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepResult {
    /// Steps taken by the checkpoint.
    pub step: usize,
    /// The prompts, filled in.
    pub prompts: Vec<String>,
    /// One result a picture, prompt by prompt.
    pub pictures: Vec<PictureResult>,
}

/// What the rules chose on one trajectory.
#[derive(Clone, Debug)]
pub struct Choices {
    /// The scored steps.
    pub steps: Vec<usize>,
    /// Their scores.
    pub validations: Vec<select::Validation>,
    /// One decision a rule.
    pub decisions: Vec<Decision>,
}

/// The two judges, loaded once.
pub struct Judges {
    vit: ImageJudge,
    clip: TextJudge,
}

impl Judges {
    /// Loads the judges of a setup.
    ///
    /// # Errors
    /// Names the folder.
    pub fn load(setup: &Setup) -> Result<Self> {
        let place = setup.place();
        Ok(Self {
            vit: ImageJudge::load(&setup.vit, place)?,
            clip: TextJudge::load(&setup.clip, place)?,
        })
    }
}

/// The decisions of every rule on a trajectory that is over.
///
/// # Errors
/// A damaged record.
pub fn choices(setup: &Setup, folder: &Folder) -> Result<Choices> {
    let validations = validations(&folder.records()?);
    let decisions = setup
        .rules
        .iter()
        .map(|rule| select::decide(rule, &validations, true))
        .collect::<Result<_, _>>()
        .with_context(|| folder.0.display().to_string())?;
    Ok(Choices {
        steps: validations.iter().map(|v| v.step).collect(),
        validations,
        decisions,
    })
}

/// Draws and scores the test pictures of step 0 and of every chosen step.
///
/// # Errors
/// Sampling, scoring and I/O errors.
pub fn examine(
    setup: &Setup,
    judges: &Judges,
    cell: &Cell,
    folder: &Folder,
    progress: &mut Progress,
) -> Result<()> {
    let choices = choices(setup, folder)?;
    let steps: BTreeSet<usize> = chosen_steps(&choices);
    let arm = &setup.arms[cell.arm];
    let planned = setup.rules.len() + 1;
    let pictures = setup.pictures(cell, Purpose::Test);
    for &step in &steps {
        let path = result_path(folder, step);
        if path.exists() && files::read_json::<StepResult>(&path).is_ok() {
            progress.advance(setup.cost(pictures), true, &cell.id);
            continue;
        }
        progress.timed(Phase::Test, |progress| -> Result<()> {
            let (unet, weights) = checkpoint::load(setup, arm, folder, step, 1.0)?;
            let shots = setup.shots(cell, Purpose::Test, step);
            let requests: Vec<Request> = shots.iter().cloned().map(Request::from).collect();
            let note = format!("{} · test pictures of step {step}", cell.id);
            let drawn = setup
                .drawer()
                .draw(&unet, &weights, &requests, progress, &note)?;
            let result = judge(setup, judges, cell, step, &shots, &drawn)?;
            for (picture, r) in drawn.iter().zip(&result.pictures) {
                let name = format!("prompt-{:02}-{}.png", r.prompt, r.picture);
                files::write_png(&folder.samples("test", step).join(name), picture)?;
            }
            files::write_json(&path, &result)
        })?;
    }
    progress.skip(setup.cost(pictures) * (planned.saturating_sub(steps.len())) as f64);
    Ok(())
}

/// `test/step-000120.json`
pub fn result_path(folder: &Folder, step: usize) -> std::path::PathBuf {
    folder.0.join(format!("test/step-{step:06}.json"))
}

/// Step 0 and the steps that rules chose.
pub fn chosen_steps(choices: &Choices) -> BTreeSet<usize> {
    let chosen = choices.decisions.iter().map(|d| choices.steps[d.chosen]);
    std::iter::once(0).chain(chosen).collect()
}

/// Whether the trajectory's training is over.
///
/// # Errors
/// A damaged state file.
pub fn is_trained(folder: &Folder) -> Result<bool> {
    Ok(folder.latest()?.is_some_and(|Latest { done, .. }| done))
}

fn judge(
    setup: &Setup,
    judges: &Judges,
    cell: &Cell,
    step: usize,
    shots: &[Shot],
    pictures: &[RgbImage],
) -> Result<StepResult> {
    let subject = &setup.subjects[cell.subject];
    let each = setup.each(cell, Purpose::Test);
    let texts = |of: fn(&Shot) -> &String| shots.iter().map(|s| of(s).clone()).collect::<Vec<_>>();
    let references = setup.squares(subject);
    let vit_i = judges.vit.similarity(pictures, &references)?;
    let judged = texts(|s| &s.judge_text);
    let clip = judges.clip.scores(pictures, &references, &[judged])?;
    let features = setup.rewarder.references(&references)?;
    let scores = setup
        .rewarder
        .score(&features, pictures, &texts(|s| &s.reward_text))?;
    let pictures = (0..pictures.len())
        .map(|i| PictureResult {
            prompt: i / each,
            picture: i % each,
            vit_i: vit_i[i],
            clip_i: clip.image[i],
            clip_t: clip.texts[0][i],
            score: scores[i],
        })
        .collect();
    Ok(StepResult {
        step,
        prompts: setup.prompts(cell, Purpose::Test),
        pictures,
    })
}
