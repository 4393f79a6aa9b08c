//! The test: pictures on test prompts and test noise from the checkpoints that rules chose. All results come from here.

use super::checkpoint;
use super::draw::Request;
use super::setup::Setup;
use crate::files;
use crate::progress::Progress;
use anyhow::{Context, Result};
use image::RgbImage;
use rpo_data::subject::Subject;
use rpo_eval::masked::MaskedColumn;
use rpo_eval::metrics::{ImageJudge, TextJudge};
use rpo_eval::scorer::{ClipColumns, ImageColumn, Scored, Scorer};
use rpo_experiment::plan::{Cell, Purpose, Shot};
use rpo_experiment::run::Phase;
use rpo_experiment::run::{Folder, PictureResult, StepResult, choices, chosen_candidates};
use rpo_files::failure::OrBadInput;
use rpo_reward::Candidate;
use std::collections::BTreeSet;

/// The judges, loaded once.
pub struct Judges {
    /// Of every subject.
    all: Vec<Box<dyn Scorer>>,
    /// Of rendered subjects.
    masked: MaskedColumn,
}

impl Judges {
    /// Loads the judges of a setup.
    ///
    /// # Errors
    /// [`rpo_files::failure::BadInput`] with the folder of the judge.
    pub fn load(setup: &Setup) -> Result<Self> {
        let (place, e) = (setup.place(), &setup.experiment.encoders);
        let all: Vec<Box<dyn Scorer>> = vec![
            Box::new(ImageColumn {
                judge: ImageJudge::load(&setup.vit, place).or_bad_input("encoders.vit")?,
                name: e.vit_name.clone(),
                computed_by: e.in_words(&e.vit),
            }),
            Box::new(ClipColumns {
                judge: TextJudge::load(&setup.clip, place).or_bad_input("encoders.clip")?,
                computed_by: e.in_words(&e.clip),
                reading: e.clip_text.in_words().into(),
            }),
        ];
        Ok(Self {
            all,
            masked: MaskedColumn::default(),
        })
    }

    /// The judges of a subject.
    fn of(&self, subject: &Subject) -> Vec<&dyn Scorer> {
        let mut all: Vec<&dyn Scorer> = self.all.iter().map(|scorer| &**scorer).collect();
        if subject.look.is_some() {
            all.push(&self.masked);
        }
        all
    }
}

/// Draws and scores the test pictures of step 0 and of everything chosen.
///
/// # Errors
/// Sampling, scoring and I/O errors.
pub fn test(
    setup: &Setup,
    judges: &Judges,
    cell: &Cell,
    folder: &Folder,
    progress: &mut Progress,
) -> Result<()> {
    let choices = choices(&setup.rules, folder)?;
    let chosen: BTreeSet<Candidate> = chosen_candidates(&choices);
    let arm = &setup.arms[cell.arm];
    let planned = setup.rules.len() + 1;
    let pictures = setup.pictures(cell, Purpose::Test);
    for &candidate in &chosen {
        if StepResult::read(folder, candidate)?.is_some() {
            progress.advance(setup.own_cost(cell, pictures), true, &cell.id);
            continue;
        }
        progress.timed(Phase::Test, |progress| -> Result<()> {
            let trained = checkpoint::load(setup, arm, folder, candidate, 1.0)?;
            let network = checkpoint::drawn(setup, cell, trained.as_deref())?;
            let shots = setup.shots(cell, Purpose::Test, candidate.step);
            let requests: Vec<Request> = shots.iter().cloned().map(Request::from).collect();
            let note = format!("{} · test pictures of step {candidate}", cell.id);
            let drawn = setup
                .drawer()
                .draw(&network, &requests, progress, &note)
                .with_context(|| note.clone())?;
            let result = judge(setup, judges, cell, candidate, &shots, &drawn)?;
            for (picture, r) in drawn.iter().zip(&result.pictures) {
                let name = format!("prompt-{:02}-{}.png", r.prompt, r.picture);
                files::write_png(&folder.samples("test", candidate).join(name), picture)?;
            }
            result.write(folder)
        })?;
    }
    progress.skip(setup.own_cost(cell, pictures) * (planned.saturating_sub(chosen.len())) as f64);
    Ok(())
}

fn judge(
    setup: &Setup,
    judges: &Judges,
    cell: &Cell,
    candidate: Candidate,
    shots: &[Shot],
    pictures: &[RgbImage],
) -> Result<StepResult> {
    let subject = &setup.subjects[cell.subject];
    let each = setup.each(cell, Purpose::Test);
    let texts = |of: fn(&Shot) -> &String| shots.iter().map(|s| of(s).clone()).collect::<Vec<_>>();
    let references = setup.squares(subject);
    let judged = texts(|s| &s.judge_text);
    let scored = Scored {
        pictures,
        references: &references,
        texts: &judged,
        look: subject.look.as_ref(),
    };
    let (mut columns, mut values) = (Vec::new(), Vec::new());
    for scorer in judges.of(subject) {
        columns.extend(scorer.columns());
        values.extend(scorer.values(scored)?);
    }
    let features = setup.rewarder.references(&references)?;
    let scores = setup
        .rewarder
        .score(&features, pictures, &texts(|s| &s.reward_text))?;
    let pictures = (0..pictures.len())
        .map(|i| PictureResult {
            prompt: i / each,
            picture: i % each,
            values: values.iter().map(|column| column[i]).collect(),
            score: scores[i],
        })
        .collect();
    Ok(StepResult {
        candidate,
        prompts: setup.prompts(cell, Purpose::Test),
        columns,
        pictures,
    })
}
