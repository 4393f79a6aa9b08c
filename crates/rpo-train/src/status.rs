//! How a run stands: its cells, and the time left at the present rate.

use crate::standing::Standing;
use rpo_experiment::plan::{Cell, Plan};
use rpo_experiment::run::{Life, Run};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// A run at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Its folder.
    pub run: PathBuf,
    /// Cells that are trained and tested.
    pub finished: usize,
    /// Cells that a process works on.
    pub running: usize,
    /// Cells whose last start failed, or whose records are damaged.
    pub failed: usize,
    /// The other cells.
    pub waiting: usize,
    /// Elements of arrays that Slurm still has, running ones included; none if Slurm is not here.
    pub queued: Option<usize>,
    /// Hours left, at most: at the rate of the running cells, or if there are none, for one cell at a time at the rate of those
    /// that ran; none before a rate is known.
    pub hours_left: Option<f64>,
    /// Every cell, in the plan's order.
    pub cells: Vec<CellStatus>,
}

/// A cell at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct CellStatus {
    /// Its index, by which a worker runs it.
    pub index: usize,
    /// Its name.
    pub id: String,
    /// `finished`, `running`, `failed` or `waiting`.
    pub state: &'static str,
    /// Why it failed.
    pub message: Option<String>,
    /// Whether workers do not try it again.
    pub given_up: bool,
    /// Seconds since its last sign of life, by this machine's clock.
    pub seen_seconds_ago: Option<u64>,
    /// Its last sign of life.
    #[serde(flatten)]
    pub life: Option<Life>,
}

/// Reads how a run stands. Cells in `finished` are taken as such without reading them again; it grows.
pub fn of(
    run: &Run,
    plan: &Plan,
    queued: Option<usize>,
    now: u64,
    finished: &mut BTreeSet<usize>,
) -> Status {
    let mut status = Status {
        run: run.path.clone(),
        finished: 0,
        running: 0,
        failed: 0,
        waiting: 0,
        queued,
        hours_left: None,
        cells: Vec::with_capacity(plan.cells.len()),
    };
    let (mut left, mut rate, mut rates) = (0.0, 0.0, Vec::new());
    for (index, cell) in plan.cells.iter().enumerate() {
        let standing = match finished.contains(&index) {
            true => Standing::Finished,
            false => Standing::of(run, plan, cell),
        };
        let given_up = standing.is_given_up();
        let (state, life, message) = match standing {
            Standing::Finished => {
                finished.insert(index);
                status.finished += 1;
                ("finished", run.trajectory(cell).life(), None)
            }
            Standing::Running(life) => {
                status.running += 1;
                rate += life.rate;
                ("running", Some(life), None)
            }
            Standing::Failed { message, life } => {
                status.failed += 1;
                ("failed", life, Some(message))
            }
            Standing::Waiting(life) => {
                status.waiting += 1;
                ("waiting", life, None)
            }
        };
        rates.extend(life.as_ref().map(|l| l.rate).filter(|r| *r > 0.0));
        if state != "finished" && !given_up {
            left += work_left(plan, cell, life.as_ref());
        }
        let seen = life.as_ref().filter(|l| l.seen > 0);
        status.cells.push(CellStatus {
            index,
            id: cell.id.clone(),
            state,
            message,
            given_up,
            seen_seconds_ago: seen.map(|l| now.saturating_sub(l.seen)),
            life,
        });
    }
    let mean = rates.iter().sum::<f64>() / rates.len().max(1) as f64;
    let rate = if rate > 0.0 { rate } else { mean };
    status.hours_left = (rate > 0.0).then(|| left / rate / 3600.0);
    status
}

/// U-Net forwards that a cell still needs, at most.
fn work_left(plan: &Plan, cell: &Cell, life: Option<&Life>) -> f64 {
    match life.filter(|l| l.all > 0.0) {
        Some(life) => (life.all - life.done).max(0.0),
        None => plan.cell_cost(cell),
    }
}
