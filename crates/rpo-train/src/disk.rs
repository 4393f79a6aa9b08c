//! Estimates how much a run will write to disk, from its plan alone.

use crate::memory::size;
use rpo_experiment::plan::{Cell, Plan, Purpose};
use rpo_reward::Lambda;

/// Bytes on disk per byte in memory of a generated picture, as PNG.
const PNG: f64 = 0.65;

/// Disk use of an arm's weights.
#[derive(Clone, Copy, Debug)]
pub struct Weights {
    /// One kept checkpoint, in bytes.
    pub checkpoint: usize,
    /// Weights and both moments to resume from, and of an arm with rounds the weights of a round's start, in bytes.
    pub state: usize,
}

/// Upper bound on the bytes of a whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    /// All checkpoints that could be kept, and one more, because a new one is written before another is removed.
    pub checkpoints: usize,
    /// Pictures in the run and in the cache, if no two cells share one.
    pub pictures: usize,
    /// Two states of a cell in training, because a new one is written before the old one is removed; removed at its end.
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

/// What a plan will write. `side`: side of its pictures in pixels. `of`: weights of an arm, by index.
pub fn estimate(plan: &Plan, side: usize, of: impl Fn(usize) -> Weights) -> Estimate {
    let picture = (side * side * 3) as f64 * PNG;
    let (mut all, mut one_more) = (Estimate::default(), 0);
    for cell in &plan.cells {
        let weights = of(cell.arm);
        all.checkpoints += kept_at_most(plan, cell) * weights.checkpoint;
        all.state = all.state.max(2 * weights.state);
        // All that are chosen of a step are written before those that they supersede are removed.
        let at_once = (plan.variants().len() + 1).min(kept_at_most(plan, cell));
        one_more = one_more.max(at_once * weights.checkpoint);
        let drawn = |purpose| plan.pictures(cell, purpose);
        let rounds = plan.round_starts(cell).len();
        let own = rounds * drawn(Purpose::Own);
        let before = drawn(Purpose::Negatives) + drawn(Purpose::Class) + own;
        let shown = (1 + after_0(plan, cell)) * drawn(Purpose::Validation)
            + (plan.rules.len() + 1) * drawn(Purpose::Test);
        // Pictures that the report shows are in the run folder too.
        all.pictures += ((before + 2 * shown) as f64 * picture) as usize;
    }
    all.checkpoints += one_more;
    all
}

/// Candidates of a trajectory beside step 0.
fn after_0(plan: &Plan, cell: &Cell) -> usize {
    let steps = plan.validations_until(cell, plan.arm(cell).training.steps) - 1;
    steps * (plan.variants().len() + 1)
}

/// Upper bound on kept checkpoints of a trajectory: step 0 is the base and is not kept; each rule and each λ of both means keeps at most one.
fn kept_at_most(plan: &Plan, cell: &Cell) -> usize {
    let winners = plan.rules.len() + 2 * Lambda::grid().count();
    after_0(plan, cell).min(winners)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rpo_experiment::read;

    #[test]
    fn what_a_small_plan_writes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.toml");
        std::fs::write(&file, "[subjects]\ncount = 2\n").unwrap();
        let sets = [
            "recipe.negatives_per_prompt=1",
            "training.steps=5",
            "validation.every=2",
            "validation.prompts=2",
            "validation.pictures_per_prompt=1",
            "test.prompts=3",
            "test.pictures_per_prompt=1",
            "rules.lambda=[0.5]",
            "rules.last=false",
        ]
        .map(String::from);
        let (experiment, layers) = read(&file, &[], &sets).unwrap();
        let plan = Plan::of(experiment, &layers).unwrap();
        let weights = Weights {
            checkpoint: 100,
            state: 300,
        };
        let written = estimate(&plan, 10, |_| weights);
        // Steps 2, 4 and 5 of both subjects.
        assert_eq!(written.checkpoints, (2 * 3 + 1) * 100);
        assert_eq!(written.state, 600);
        // Negatives once, four validations of two and two tests of three twice.
        let negatives = plan.pictures(&plan.cells[0], Purpose::Negatives);
        let pictures = 2 * (negatives + 2 * (4 * 2 + 2 * 3));
        assert_eq!(written.pictures, (pictures as f64 * 195.0) as usize);
        // Two rounds of own pictures in place of the negatives, and the class.
        let sets = [
            &sets[1..],
            &["recipe.preset=dreambooth_dpo", "recipe.negative_prompts=3"].map(String::from),
        ]
        .concat();
        let (experiment, layers) = read(&file, &[], &sets).unwrap();
        let plan = Plan::of(experiment, &layers).unwrap();
        let drawn = 200 + 2 * 3 * 4 + 2 * ((1 + after_0(&plan, &plan.cells[0])) * 2 + 2 * 3);
        let written = estimate(&plan, 10, |_| weights);
        assert_eq!(written.pictures, 2 * (drawn as f64 * 195.0) as usize);
    }
}
