//! Test pictures side by side.

use super::finished::Finished;
use super::rows::Row;
use super::thumbnails::{Thumbnails, spread};
use crate::page::data::{Sample, SampleRow};
use anyhow::Result;
use rpo_experiment::plan::{Cell, Plan};
use rpo_reward::select::Kind;

/// Number of test prompts per subject whose pictures are shown.
pub(super) const SAMPLE_PROMPTS: usize = 6;

/// Some test prompts of every trajectory, one picture per row of the table.
pub(super) fn samples(
    plan: &Plan,
    thumbnails: &Thumbnails,
    cells: &[&Finished],
    rows: &[Row],
) -> Result<Vec<SampleRow>> {
    let prompts = if thumbnails.few { 1 } else { SAMPLE_PROMPTS };
    let mut all = Vec::new();
    for Finished { cell, folder, .. } in cells {
        let of_cell: Vec<_> = rows
            .iter()
            .filter(|r| r.rule.is_none() || r.arm == cell.arm)
            .filter_map(|r| {
                let same = |c: &Cell| c.subject == cell.subject && c.seed == cell.seed;
                r.results
                    .iter()
                    .find(|(c, _)| same(c))
                    .map(|(_, result)| (r, result))
            })
            .collect();
        let guidance = plan.arm(cell).recipe.reward_guidance;
        let Some((_, first)) = of_cell.first() else {
            continue;
        };
        // If there is room for a few only: the base model, the first rule of the arm and the last step.
        let last = |r: &Row| r.rule.is_some_and(|i| plan.rules[i].kind == Kind::Last);
        let shown = |r: &Row| !thumbnails.few || matches!(r.rule, None | Some(0)) || last(r);
        for prompt in spread(first.prompts.len(), prompts) {
            let pictures = of_cell
                .iter()
                .filter(|(row, _)| shown(row))
                .map(|(row, result)| {
                    let file = folder
                        .samples("test", result.candidate)
                        .join(format!("prompt-{prompt:02}-0.png"));
                    Ok(Sample {
                        row: row.name.clone(),
                        label: row.label(plan),
                        step: result.candidate.step,
                        variant: match (result.candidate.step, guidance) {
                            (0, Some(scale)) => format!("reward guidance {scale}"),
                            _ => result.candidate.variant.in_words(),
                        },
                        picture: thumbnails.read(&file)?,
                    })
                })
                .collect::<Result<_>>()?;
            all.push(SampleRow {
                trajectory: cell.id.clone(),
                prompt: first.prompts[prompt].clone(),
                pictures,
            });
        }
    }
    Ok(all)
}
