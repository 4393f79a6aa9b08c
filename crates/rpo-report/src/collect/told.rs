//! What TensorBoard is told of a trajectory: the numbers and pictures of each record.

use super::thumbnails::spread;
use super::trajectory::STRIP;
use anyhow::Result;
use rpo_experiment::plan::{Cell, Plan, Purpose};
use rpo_experiment::run::{Folder, Record};
use rpo_reward::select::{Kind, Validation, decide};
use rpo_reward::{Candidate, Variant, mean_reward};
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
            Record::Round { step, kept, .. } => {
                (*step, vec![number("training/kept_pairs", *kept as f64)])
            }
            Record::Validation { candidate, scores } => {
                self.scored.push(Validation {
                    candidate: *candidate,
                    scores: scores.clone(),
                });
                let mut all = self.numbers(*candidate)?;
                all.extend(self.pictures(*candidate));
                (candidate.step, all)
            }
        };
        let told = |(tag, what)| Told { step, tag, what };
        Ok(all.into_iter().map(told).collect())
    }

    /// The latest validation: both alignments, the reward of each rule that has one, and, after the last one of a step, the step that
    /// each rule has chosen so far.
    fn numbers(&self, of: Candidate) -> Result<Vec<(String, What)>> {
        let Some(Validation { scores, .. }) = self.scored.last() else {
            return Ok(Vec::new());
        };
        let n = scores.len() as f64;
        let image = scores.iter().map(|s| s.image).sum::<f64>() / n;
        let text = scores.iter().map(|s| s.text).sum::<f64>() / n;
        let group = group(of);
        let mut all = vec![
            number(format!("{group}/ALIGN-I"), image),
            number(format!("{group}/ALIGN-T"), text),
        ];
        for rule in &self.plan.rules {
            if rule.kind == Kind::Best {
                let reward = mean_reward(scores, rule.mean, rule.lambda);
                all.push(number(format!("{group}/reward/{}", rule.name), reward));
            }
            if of.variant.is_trained() {
                let chosen = self.scored[decide(rule, &self.scored, false)?.chosen].candidate;
                let name = format!("chosen_step/{}", rule.name);
                all.push(number(name, chosen.step as f64));
            }
        }
        Ok(all)
    }

    /// Pictures of a few prompts, the same at every step.
    fn pictures(&self, of: Candidate) -> Vec<(String, What)> {
        let prompts = self.plan.prompts(self.cell, Purpose::Validation);
        let place = self.folder.samples("validation", of);
        let shown = spread(prompts.len(), STRIP);
        let shown = shown.into_iter().map(|p| {
            let file = place.join(format!("prompt-{p:02}-0.png"));
            // A slash would make groups of one prompt.
            let tag = format!("{}/{p:02} {}", group(of), prompts[p].replace('/', " "));
            (tag, What::Picture(file))
        });
        shown.collect()
    }
}

/// What is told of a validation stands together.
fn group(of: Candidate) -> String {
    match of.variant {
        Variant::Trained => "validation".to_owned(),
        variant => format!("validation, {}", variant.in_words()),
    }
}

fn number(tag: impl Into<String>, value: f64) -> (String, What) {
    (tag.into(), What::Number(value))
}
