//! The finished cells of a run, complete or not, and the contents of their files; beside them, those that are begun.

use super::unfinished::{Unfinished, lines};
use anyhow::Result;
use rpo_experiment::plan::{Cell, Plan};
use rpo_experiment::run::{Folder, Run, Tested};

/// A finished cell.
pub(super) struct Finished<'a> {
    /// The cell.
    pub(super) cell: &'a Cell,
    /// Its folder.
    pub(super) folder: Folder,
    /// The contents of its files, read once, here.
    pub(super) tested: Tested,
    /// Whether its subject and seed are finished in every arm: rows are compared on the same subjects and seeds.
    compared: bool,
}

/// The finished part of a run.
pub(super) struct AllFinished<'a> {
    /// The cells that are trained, chosen and tested.
    pub(super) cells: Vec<Finished<'a>>,
    /// The cells that are begun and have a validation.
    pub(super) unfinished: Vec<Unfinished<'a>>,
    /// Descriptions of what is missing or damaged.
    pub(super) missing: Vec<String>,
}

impl<'a> AllFinished<'a> {
    /// Reads the records of every cell. A damaged one does not hide the others.
    pub(super) fn of(plan: &'a Plan, run: &Run) -> Self {
        let (mut cells, mut unfinished, mut missing) = (Vec::new(), Vec::new(), Vec::new());
        for cell in &plan.cells {
            let folder = run.trajectory(cell);
            let read = || -> Result<_> {
                Ok(match run.tested(plan, cell)? {
                    Some(tested) => (Some(tested), None),
                    None => (None, run.so_far(plan, cell)?),
                })
            };
            match read() {
                Ok((Some(tested), _)) => cells.push(Finished {
                    cell,
                    folder,
                    tested,
                    compared: false,
                }),
                Ok((None, Some(so_far))) => {
                    unfinished.push(Unfinished::of(plan, cell, folder, so_far));
                }
                Ok((None, None)) => {}
                Err(e) => missing.push(format!("{}: {e:#}", cell.id)),
            }
        }
        let unit = |cell: &Cell| (cell.subject, cell.seed);
        let units: Vec<_> = cells.iter().map(|finished| unit(finished.cell)).collect();
        for finished in &mut cells {
            let own = unit(finished.cell);
            let arms = units.iter().filter(|other| **other == own).count();
            finished.compared = arms == plan.arms.len();
        }
        let mut all = Self {
            cells,
            unfinished,
            missing,
        };
        if all.cells.len() < plan.cells.len() {
            let told = format!(
                "{} of {} cells are finished; figures are of the {} subjects and seeds that are finished in every arm",
                all.cells.len(),
                plan.cells.len(),
                all.compared().len() / plan.arms.len().max(1)
            );
            all.missing.push(told);
            all.missing.extend(lines(plan, &all.unfinished));
        }
        all
    }

    /// The cells that rows are compared on.
    pub(super) fn compared(&self) -> Vec<&Finished<'a>> {
        self.cells.iter().filter(|f| f.compared).collect()
    }
}
