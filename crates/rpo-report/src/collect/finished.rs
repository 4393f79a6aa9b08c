//! Which cells of a run are finished, at any moment of it.

use rpo_experiment::plan::{Cell, Plan};
use rpo_experiment::run::Run;

/// The cells that figures can be computed of.
pub(super) struct Finished<'a> {
    /// Trained, chosen and tested.
    pub(super) cells: Vec<&'a Cell>,
    /// Those of them whose subject and seed are finished in every arm: rows are compared on the same ones.
    pub(super) compared: Vec<&'a Cell>,
    /// What is missing or damaged, in words.
    pub(super) missing: Vec<String>,
}

impl<'a> Finished<'a> {
    /// Looks at the records of every cell. One that is damaged does not hide the others.
    pub(super) fn of(plan: &'a Plan, run: &Run) -> Self {
        let (mut cells, mut missing) = (Vec::new(), Vec::new());
        for cell in &plan.cells {
            match run.is_finished(plan, cell) {
                Ok(true) => cells.push(cell),
                Ok(false) => {}
                Err(e) => missing.push(format!("{}: {e:#}", cell.id)),
            }
        }
        let of_unit =
            |cell: &Cell, other: &Cell| (cell.subject, cell.seed) == (other.subject, other.seed);
        let in_all_arms = |cell: &&&Cell| {
            cells.iter().filter(|other| of_unit(cell, other)).count() == plan.arms.len()
        };
        let compared: Vec<&Cell> = cells.iter().filter(in_all_arms).copied().collect();
        if cells.len() < plan.cells.len() {
            missing.push(format!(
                "{} of {} cells are finished; figures are of the {} subjects and seeds that are finished in every arm",
                cells.len(),
                plan.cells.len(),
                compared.len() / plan.arms.len().max(1)
            ));
        }
        Self {
            cells,
            compared,
            missing,
        }
    }
}
