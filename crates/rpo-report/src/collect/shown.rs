//! The trajectories that a page shows: of finished cells, and of begun ones.

use super::finished::{AllFinished, Finished};
use super::unfinished::Unfinished;
use rpo_experiment::plan::Cell;
use rpo_experiment::run::{Choices, Folder, Record};

/// A trajectory to show.
pub(super) struct Shown<'a> {
    /// Its cell.
    pub(super) cell: &'a Cell,
    /// Its folder.
    pub(super) folder: &'a Folder,
    /// Its records.
    pub(super) records: &'a [Record],
    /// What the rules chose, or would choose if it ended now.
    pub(super) choices: &'a Choices,
    /// How far it is, of an unfinished one.
    pub(super) unfinished: Option<&'a str>,
}

/// All of a run, in the plan's order.
pub(super) fn shown<'a>(all: &'a AllFinished<'a>) -> Vec<Shown<'a>> {
    let finished = all.cells.iter().map(of_finished);
    let mut shown: Vec<Shown> = finished
        .chain(all.unfinished.iter().map(of_unfinished))
        .collect();
    shown.sort_by_key(|one| (one.cell.subject, one.cell.seed, one.cell.arm));
    shown
}

fn of_finished<'a>(finished: &'a Finished<'a>) -> Shown<'a> {
    Shown {
        cell: finished.cell,
        folder: &finished.folder,
        records: &finished.tested.records,
        choices: &finished.tested.choices,
        unfinished: None,
    }
}

fn of_unfinished<'a>(unfinished: &'a Unfinished<'a>) -> Shown<'a> {
    Shown {
        cell: unfinished.cell,
        folder: &unfinished.folder,
        records: &unfinished.so_far.records,
        choices: &unfinished.so_far.choices,
        unfinished: Some(&unfinished.state),
    }
}
