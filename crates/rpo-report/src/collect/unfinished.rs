//! Cells that are begun and not finished: running, or interrupted.

use rpo_experiment::plan::{Cell, Plan};
use rpo_experiment::run::{Ended, Folder, SoFar};
use rpo_files::Lock;

/// How many of them are told one by one.
const TOLD: usize = 8;

/// A begun cell with a validation. It has no results: tests are of finished cells only.
pub(super) struct Unfinished<'a> {
    /// The cell.
    pub(super) cell: &'a Cell,
    /// Its folder.
    pub(super) folder: Folder,
    /// What is saved of it.
    pub(super) so_far: SoFar,
    /// How far it is, as shown: `trained to step 120 of 240, still running`.
    pub(super) state: String,
}

impl<'a> Unfinished<'a> {
    /// A cell of which this much is saved.
    pub(super) fn of(plan: &Plan, cell: &'a Cell, folder: Folder, so_far: SoFar) -> Self {
        let limit = plan.arm(cell).training.steps;
        let failed = || folder.life().and_then(|l| l.ended) == Some(Ended::Failed);
        // Only a hint for people: nothing else depends on who holds the lock.
        let now = if Lock::is_held(&folder.0) {
            "still running"
        } else if failed() {
            "failed, and can be resumed"
        } else {
            "interrupted"
        };
        let step = so_far.step;
        let state = match so_far.is_trained {
            true => format!("trained to its end at step {step}, not tested: {now}"),
            false => format!("trained to step {step} of {limit}, {now}"),
        };
        Self {
            cell,
            folder,
            so_far,
            state,
        }
    }

    /// One line: how far it is, and what the rules would choose if it ended now.
    fn line(&self, plan: &Plan) -> String {
        let choices = &self.so_far.choices;
        let chosen = plan.rules.iter().enumerate();
        let chosen = chosen.map(|(i, rule)| format!("{} step {}", rule.name, choices.chosen(i)));
        format!(
            "{}: {}; chosen so far: {}",
            self.cell.id,
            self.state,
            chosen.collect::<Vec<_>>().join(", ")
        )
    }
}

/// Lines about the first of them, and how many more there are.
pub(super) fn lines(plan: &Plan, all: &[Unfinished]) -> Vec<String> {
    let mut lines: Vec<String> = all.iter().take(TOLD).map(|one| one.line(plan)).collect();
    if all.len() > TOLD {
        lines.push(format!(
            "and {} more unfinished trainings",
            all.len() - TOLD
        ));
    }
    lines
}
