//! A trajectory for the page: scores, pictures, losses, and the outcomes of the rules.

use super::shown::Shown;
use super::thumbnails::{Thumbnails, spread};
use crate::page::data::{self, PictureScore, RuleOutcome, TrainingPoint, Trajectory};
use anyhow::Result;
use rpo_experiment::plan::{Plan, Purpose};
use rpo_experiment::run::Record;
use rpo_reward::mean_reward;
use rpo_reward::select::{Kind, gain_over_first};
use std::collections::BTreeSet;

/// Pictures per validation in the strip.
pub(super) const STRIP: usize = 3;
/// Points of a loss curve.
const CURVE: usize = 120;

pub(super) fn trajectory(
    plan: &Plan,
    thumbnails: &Thumbnails,
    shown: &Shown,
) -> Result<Trajectory> {
    let Shown {
        cell,
        folder,
        records,
        choices: chosen,
        unfinished,
    } = shown;
    let (arm, subject) = (&plan.arms[cell.arm], &plan.subjects[cell.subject]);
    let each = plan.experiment.validation.pictures_per_prompt;
    let prompts = plan.prompts(cell, Purpose::Validation);
    let strip = if thumbnails.few { 0 } else { STRIP };
    let in_strip: Vec<usize> = spread(prompts.len(), strip);
    let validations = chosen
        .validations
        .iter()
        .map(|v| {
            let strip = in_strip
                .iter()
                .map(|p| {
                    thumbnails.read(
                        &folder
                            .samples("validation", v.candidate)
                            .join(format!("prompt-{p:02}-0.png")),
                    )
                })
                .collect::<Result<_>>()?;
            let pictures = v
                .scores
                .iter()
                .enumerate()
                .map(|(i, s)| PictureScore {
                    prompt: i / each,
                    image: s.image,
                    text: s.text,
                })
                .collect();
            Ok(data::Validation {
                step: v.candidate.step,
                variant: v.candidate.variant.in_words(),
                pictures,
                strip,
            })
        })
        .collect::<Result<_>>()?;
    let outcomes = plan
        .rules
        .iter()
        .zip(&chosen.decisions)
        .map(|(rule, d)| {
            let best = rule.kind == Kind::Best;
            let gain = gain_over_first(rule, &chosen.validations, d.chosen)?;
            let reward = |i: usize| {
                best.then(|| mean_reward(&chosen.validations[i].scores, rule.mean, rule.lambda))
            };
            Ok(RuleOutcome {
                rule: rule.name.clone(),
                chosen_step: chosen.candidates[d.chosen].step,
                chosen_variant: chosen.candidates[d.chosen].variant.in_words(),
                stopped_at_step: d.stopped_at.map(|i| chosen.candidates[i].step),
                reason: d.reason.clone(),
                reward_chosen: reward(d.chosen),
                reward_step0: reward(0),
                difference_interval: gain.interval.filter(|_| best).map(Into::into),
            })
        })
        .collect::<Result<_>>()?;
    let kept = folder.all_kept().into_iter();
    let (trained, variants): (Vec<_>, Vec<_>) = kept.partition(|kept| kept.variant.is_trained());
    Ok(Trajectory {
        id: cell.id.clone(),
        subject: subject.name.clone(),
        class: subject.class.clone(),
        arm: if plan.arms.len() > 1 {
            arm.name.clone()
        } else {
            String::new()
        },
        seed: cell.seed,
        photos: subject.photos,
        references: thumbnails.folder(&folder.0.join("references"), 1)?,
        negatives: thumbnails.folder(&folder.0.join("negatives"), 0)?,
        strip_prompts: in_strip.iter().map(|p| prompts[*p].clone()).collect(),
        validation_prompts: prompts,
        validations,
        training: curve(records),
        kept_steps: trained.iter().map(|kept| kept.step).collect(),
        kept_variants: variants
            .iter()
            .map(|kept| (kept.step, kept.variant.in_words()))
            .collect(),
        stopped_step: chosen.candidates.last().map_or(0, |last| last.step),
        outcomes,
        unfinished: unfinished.map(str::to_owned),
    })
}

/// Losses, averaged over equal intervals of steps.
fn curve(records: &[Record]) -> Vec<TrainingPoint> {
    let points: Vec<TrainingPoint> = records
        .iter()
        .filter_map(|r| match r {
            Record::Step {
                step,
                terms,
                loss,
                grad_norm,
            } => Some(TrainingPoint {
                step: *step,
                terms: terms.clone(),
                loss: *loss,
                grad_norm: *grad_norm,
            }),
            Record::Round { .. } | Record::Validation { .. } => None,
        })
        .collect();
    points
        .chunks(points.len().div_ceil(CURVE).max(1))
        .map(|chunk| {
            let mean = |f: &dyn Fn(&TrainingPoint) -> f64| {
                chunk.iter().map(f).sum::<f64>() / chunk.len() as f64
            };
            // Steps outside of rounds and in them have other terms.
            let names: BTreeSet<&String> = chunk.iter().flat_map(|p| p.terms.keys()).collect();
            let terms = names.into_iter().map(|name| {
                let of: Vec<f64> = chunk
                    .iter()
                    .filter_map(|p| p.terms.get(name))
                    .copied()
                    .collect();
                (name.clone(), of.iter().sum::<f64>() / of.len() as f64)
            });
            TrainingPoint {
                step: chunk[chunk.len() - 1].step,
                terms: terms.collect(),
                loss: mean(&|p| p.loss),
                grad_norm: mean(&|p| p.grad_norm),
            }
        })
        .collect()
}
