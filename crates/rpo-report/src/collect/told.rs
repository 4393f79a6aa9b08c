//! What TensorBoard is told of a trajectory: the numbers and pictures of each record.

use super::thumbnails::spread;
use super::trajectory::STRIP;
use anyhow::Result;
use rpo_experiment::plan::{Cell, Plan, Purpose};
use rpo_experiment::run::{Folder, Record};
use rpo_reward::mean_reward;
use rpo_reward::select::{Kind, Validation, decide};
use std::path::PathBuf;

/// One thing that is told.
pub(super) struct Told {
    /// The step.
    pub(super) step: usize,
    /// Its place in TensorBoard.
    pub(super) tag: String,
    /// The thing.
    pub(super) what: What,
}

/// A number or a picture.
pub(super) enum What {
    /// A number.
    Number(f64),
    /// The file of a picture.
    Picture(PathBuf),
}

/// Tells one record of a trajectory after the other.
pub(super) struct Teller<'a> {
    plan: &'a Plan,
    cell: &'a Cell,
    folder: Folder,
    scored: Vec<Validation>,
}

impl<'a> Teller<'a> {
    /// Before the first record of `cell`.
    pub(super) fn new(plan: &'a Plan, cell: &'a Cell, folder: Folder) -> Self {
        let scored = Vec::new();
        Self {
            plan,
            cell,
            folder,
            scored,
        }
    }

    /// What is told of the next record.
    ///
    /// # Errors
    /// Scores that are none.
    pub(super) fn tell(&mut self, record: &Record) -> Result<Vec<Told>> {
        let (step, all) = match record {
            Record::Step {
                step,
                terms,
                loss,
                grad_norm,
            } => {
                let rate = self.plan.arm(self.cell).training.rate(*step);
                let mut all = vec![
                    number("training/loss", *loss),
                    number("training/grad_norm", *grad_norm),
                    number("training/learning_rate", rate),
                ];
                let of =
                    |(name, value): (&String, &f64)| number(format!("training/l_{name}"), *value);
                all.extend(terms.iter().map(of));
                (*step, all)
            }
            Record::Validation { step, scores } => {
                self.scored.push(Validation {
                    step: *step,
                    scores: scores.clone(),
                });
                let mut all = self.numbers()?;
                all.extend(self.pictures(*step));
                (*step, all)
            }
        };
        let told = |(tag, what)| Told { step, tag, what };
        Ok(all.into_iter().map(told).collect())
    }

    /// The latest validation: both alignments, the reward of each rule that has one, and what each rule has chosen so far.
    fn numbers(&self) -> Result<Vec<(String, What)>> {
        let Some(Validation { scores, .. }) = self.scored.last() else {
            return Ok(Vec::new());
        };
        let n = scores.len() as f64;
        let image = scores.iter().map(|s| s.image).sum::<f64>() / n;
        let text = scores.iter().map(|s| s.text).sum::<f64>() / n;
        let mut all = vec![
            number("validation/ALIGN-I", image),
            number("validation/ALIGN-T", text),
        ];
        for rule in &self.plan.rules {
            let chosen = self.scored[decide(rule, &self.scored, false)?.chosen].step;
            if rule.kind == Kind::Best {
                let reward = mean_reward(scores, rule.mean, rule.lambda);
                all.push(number(format!("validation/reward/{}", rule.name), reward));
            }
            all.push(number(format!("chosen_step/{}", rule.name), chosen as f64));
        }
        Ok(all)
    }

    /// Pictures of a few prompts, the same at every step.
    fn pictures(&self, step: usize) -> Vec<(String, What)> {
        let prompts = self.plan.prompts(self.cell, Purpose::Validation);
        let place = self.folder.samples("validation", step);
        let shown = spread(prompts.len(), STRIP);
        let shown = shown.into_iter().map(|p| {
            let file = place.join(format!("prompt-{p:02}-0.png"));
            // A slash would make groups of one prompt.
            let tag = format!("validation/{p:02} {}", prompts[p].replace('/', " "));
            (tag, What::Picture(file))
        });
        shown.collect()
    }
}

fn number(tag: impl Into<String>, value: f64) -> (String, What) {
    (tag.into(), What::Number(value))
}
