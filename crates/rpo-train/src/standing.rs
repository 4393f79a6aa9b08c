//! How each cell of a run stands, from its files alone.

use rpo_experiment::plan::{Cell, Plan};
use rpo_experiment::run::{Ended, Life, Run};
use rpo_files::Lock;

/// How a cell stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// Trained and tested.
    Finished,
    /// A process works on it.
    Running(Life),
    /// Its last start failed, or its records are damaged.
    Failed {
        /// Why.
        message: String,
        /// Its last sign of life.
        life: Option<Life>,
    },
    /// Not begun, or to be continued: interrupted, or killed without a word.
    Waiting(Option<Life>),
}

impl Standing {
    /// Reads the files of a cell.
    pub fn of(run: &Run, plan: &Plan, cell: &Cell) -> Self {
        let folder = run.trajectory(cell);
        let life = folder.life();
        if Lock::is_held(&folder.0) {
            return Self::Running(life.unwrap_or_default());
        }
        match run.is_finished(plan, cell) {
            Ok(true) => return Self::Finished,
            Ok(false) => {}
            Err(e) => {
                return Self::Failed {
                    message: format!("{e:#}"),
                    life,
                };
            }
        }
        let failed = life.as_ref().filter(|l| l.ended == Some(Ended::Failed));
        match failed.and_then(|l| l.failure.clone()) {
            Some(failure) => Self::Failed {
                message: failure.message,
                life,
            },
            None => Self::Waiting(life),
        }
    }

    /// Whether a worker would refuse it.
    pub fn is_given_up(&self) -> bool {
        matches!(self, Self::Failed { life: Some(life), .. } if life.given_up().is_some())
    }
}
