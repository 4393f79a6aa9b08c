//! Which cells of a run are finished, at any moment of it.

use anyhow::Result;
use rpo_experiment::plan::{Cell, Plan};
use rpo_experiment::run::{Run, choices, chosen_steps, is_trained, result_path};

/// The cells that figures can be computed of.
pub(super) struct Finished<'a> {
    /// Trained, chosen and tested.
    pub(super) cells: Vec<&'a Cell>,
    /// Those of them whose subject and seed are finished in every arm: rows are compared on the same ones.
    pub(super) compared: Vec<&'a Cell>,
    /// What is missing, in words.
    pub(super) missing: Option<String>,
}

impl<'a> Finished<'a> {
    /// Looks at the records of every cell.
    ///
    /// # Errors
    /// A record that is damaged, by file.
    pub(super) fn of(plan: &'a Plan, run: &Run) -> Result<Self> {
        let mut cells = Vec::new();
        for cell in &plan.cells {
            if is_finished(plan, run, cell)? {
                cells.push(cell);
            }
        }
        let of_unit =
            |cell: &Cell, other: &Cell| (cell.subject, cell.seed) == (other.subject, other.seed);
        let in_all_arms = |cell: &&&Cell| {
            cells.iter().filter(|other| of_unit(cell, other)).count() == plan.arms.len()
        };
        let compared: Vec<&Cell> = cells.iter().filter(in_all_arms).copied().collect();
        let missing = (cells.len() < plan.cells.len()).then(|| {
            format!(
                "{} of {} cells are finished; figures are of the {} subjects and seeds that are finished in every arm",
                cells.len(),
                plan.cells.len(),
                compared.len() / plan.arms.len().max(1)
            )
        });
        Ok(Self {
            cells,
            compared,
            missing,
        })
    }
}

fn is_finished(plan: &Plan, run: &Run, cell: &Cell) -> Result<bool> {
    let folder = run.trajectory(cell);
    if !is_trained(&folder)? {
        return Ok(false);
    }
    folder.checked()?;
    let chosen = choices(&plan.rules, &folder)?;
    let tested = |step: &usize| result_path(&folder, *step).is_file();
    Ok(chosen_steps(&chosen).iter().all(tested))
}
