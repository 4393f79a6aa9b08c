//! The test: pictures on test prompts and test noise from the checkpoints that rules chose. Every result comes from here.

use super::checkpoint;
use super::draw::Request;
use super::setup::Setup;
use crate::files;
use crate::progress::Progress;
use anyhow::Result;
use image::RgbImage;
use rpo_eval::metrics::{ImageJudge, TextJudge};
use rpo_experiment::plan::{Cell, Purpose, Shot};
use rpo_experiment::run::Phase;
use rpo_experiment::run::{Folder, PictureResult, StepResult, choices, chosen_steps, result_path};
use std::collections::BTreeSet;

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
    let choices = choices(&setup.rules, folder)?;
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
