//! What each arm costs for a subject, from plan and records.

use super::finished::AllFinished;
use crate::table::{Beside, Cost};
use rpo_experiment::plan::{Plan, Purpose};
use rpo_experiment::run::{Record, steps_without_pairs};

/// Costs of the arms of which a training is finished, and the file's published rows.
pub(super) fn beside(plan: &Plan, finished: &AllFinished) -> Beside {
    let arms = 0..plan.arms.len();
    Beside {
        costs: arms.filter_map(|arm| cost(plan, finished, arm)).collect(),
        published: plan.experiment.report.published.clone(),
    }
}

fn cost(plan: &Plan, finished: &AllFinished, index: usize) -> Option<Cost> {
    let arm = &plan.arms[index];
    let cells: Vec<_> = finished
        .cells
        .iter()
        .filter(|finished| finished.cell.arm == index)
        .collect();
    let first = cells.first()?.cell;
    let mean =
        |of: &dyn Fn(usize) -> f64| (0..cells.len()).map(of).sum::<f64>() / cells.len() as f64;
    let steps = |i: usize| {
        cells[i]
            .tested
            .choices
            .candidates
            .last()
            .map_or(0, |last| last.step)
    };
    let of_rounds = |records: &[Record]| {
        let rounds = records.iter().filter(|r| matches!(r, Record::Round { .. }));
        rounds.count()
    };
    let rounds = cells.iter().map(|c| of_rounds(&c.tested.records)).max();
    let rounds = rounds.unwrap_or(0);
    let trained = cells.iter().find_map(|finished| finished.folder.trained());
    Some(Cost {
        arm: arm.name.clone(),
        backbone: plan.experiment.model.path.clone(),
        trains: arm.what(),
        iterations: arm.training.steps,
        steps: mean(&|i| steps(i) as f64),
        pictures: plan.pictures(first, Purpose::Negatives)
            + plan.pictures(first, Purpose::Class)
            + rounds * plan.pictures(first, Purpose::Own),
        forwards: mean(&|i| {
            let cell = cells[i].cell;
            let saved = plan.step_cost(cell, true) - plan.step_cost(cell, false);
            let without = steps_without_pairs(&cells[i].tested.records) as f64;
            plan.preparation_cost(cell) + plan.cost_until(cell, steps(i)) - without * saved
        }),
        seconds: Some(mean(&|i| {
            let times = cells[i].folder.times();
            times.negatives + times.training + times.validation
        })),
        parameters: trained.as_ref().map(|trained| trained.parameters),
        bytes: trained.map(|trained| trained.bytes as u64),
    })
}
