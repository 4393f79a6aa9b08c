//! How much a run will write, from its plan alone.

use crate::memory::size;
use rpo_experiment::plan::{Cell, Plan, Purpose};
use rpo_reward::Lambda;

/// Bytes of a picture on the disk for each of a picture in memory: PNG of what diffusion models draw.
const PNG: f64 = 0.65;

/// What an arm's weights take.
#[derive(Clone, Copy, Debug)]
pub struct Weights {
    /// One kept checkpoint, in bytes.
    pub checkpoint: usize,
    /// Weights and both moments to resume from, in bytes.
    pub state: usize,
}

/// Bytes of a whole run at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    /// All checkpoints that may be kept.
    pub checkpoints: usize,
    /// Pictures in the run and in the cache, where no two cells share one.
    pub pictures: usize,
    /// The states of cells that train at a time, one each; gone when they are over.
    pub state: usize,
}

impl Estimate {
    /// `up to 1.2 GB: checkpoints 0.9 GB, …`
    pub fn describe(&self) -> String {
        format!(
            "up to {}: checkpoints {}, pictures {}, and {} while a cell trains",
            size(self.checkpoints + self.pictures),
            size(self.checkpoints),
            size(self.pictures),
            size(self.state)
        )
    }
}

/// What a plan will write. `side`: of its pictures, in pixels. `of`: an arm's weights, by its place.
pub fn estimate(plan: &Plan, side: usize, of: impl Fn(usize) -> Weights) -> Estimate {
    let picture = (side * side * 3) as f64 * PNG;
    let mut all = Estimate::default();
    for cell in &plan.cells {
        let weights = of(cell.arm);
        all.checkpoints += kept_at_most(plan, cell) * weights.checkpoint;
        all.state = all.state.max(weights.state);
        let drawn = |purpose| plan.pictures(cell, purpose);
        let before = drawn(Purpose::Negatives) + drawn(Purpose::Class);
        let shown = validations(plan, cell) * drawn(Purpose::Validation)
            + (plan.rules.len() + 1) * drawn(Purpose::Test);
        // Those that a run shows lie in its folder too.
        all.pictures += ((before + 2 * shown) as f64 * picture) as usize;
    }
    all
}

fn validations(plan: &Plan, cell: &Cell) -> usize {
    let (limit, every) = (
        plan.arm(cell).training.steps,
        plan.experiment.validation.every,
    );
    limit / every + 1 + usize::from(!limit.is_multiple_of(every))
}

/// Checkpoints of one trajectory: step 0 is the base and is not kept; each rule and each λ of both means keeps one at most.
fn kept_at_most(plan: &Plan, cell: &Cell) -> usize {
    let winners = plan.rules.len() + 2 * Lambda::grid().count();
    (validations(plan, cell) - 1).min(winners)
}
