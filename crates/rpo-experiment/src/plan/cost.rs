//! Cost of a plan in U-Net forwards; a backward counts as two.

use super::shots::Purpose;
use super::{Cell, Plan};

impl Plan {
    /// Cost of drawing `pictures` pictures, with the base network. Guided evaluations need two forwards, the others one.
    pub fn cost(&self, pictures: usize) -> f64 {
        self.drawing_cost(pictures, false)
    }

    /// As [`Self::cost`]; `reward`: with reward guidance, whose evaluations need one forward more.
    pub fn drawing_cost(&self, pictures: usize, reward: bool) -> f64 {
        let sampler = &self.experiment.sampler;
        (pictures * sampler.passes(self.evaluations, reward)) as f64
    }

    /// Cost of drawing `pictures` pictures with the network of a cell, as its arm draws.
    pub fn own_cost(&self, cell: &Cell, pictures: usize) -> f64 {
        let reward = self.arm(cell).recipe.reward_guidance.is_some();
        self.drawing_cost(pictures, reward)
    }

    /// Average cost of one evaluation; see [`Self::drawing_cost`].
    pub fn passes(&self, reward: bool) -> f64 {
        self.drawing_cost(1, reward) / self.evaluations as f64
    }

    /// Cost of one gradient step of a cell, outside of rounds or in a round that has pairs.
    pub fn step_cost(&self, cell: &Cell, in_round: bool) -> f64 {
        let arm = self.arm(cell);
        let passes = match in_round {
            true => arm.recipe.round_passes(),
            false => arm.recipe.passes(),
        };
        ((3 * passes.trainable + passes.frozen) * arm.training.batch) as f64
    }

    /// The steps after which the rounds of a cell begin, in order; none without rounds.
    pub fn round_starts(&self, cell: &Cell) -> Vec<usize> {
        let arm = self.arm(cell);
        arm.recipe.round_starts(arm.training.steps)
    }

    /// Cost of the pictures that a cell draws at the start of a round, without reward guidance.
    pub fn round_cost(&self, cell: &Cell) -> f64 {
        self.cost(self.pictures(cell, Purpose::Own))
    }

    /// Cost of scoring a step of a cell: its trained weights, and their variants after step 0.
    pub fn validation_cost(&self, cell: &Cell, step: usize) -> f64 {
        let candidates = if step == 0 {
            1
        } else {
            self.variants().len() + 1
        };
        self.own_cost(cell, candidates * self.pictures(cell, Purpose::Validation))
    }

    /// Cost of a cell from the first step to `step`, including its validation, if every round has pairs.
    pub fn cost_until(&self, cell: &Cell, step: usize) -> f64 {
        let after = self.validations_until(cell, step) - 1;
        let starts = self.round_starts(cell);
        let begun = starts.iter().filter(|start| **start < step).count() as f64;
        let before = starts.first().map_or(step, |first| step.min(*first));
        before as f64 * self.step_cost(cell, false)
            + (step - before) as f64 * self.step_cost(cell, true)
            + begun * self.round_cost(cell)
            + self.validation_cost(cell, 0)
            + after as f64 * self.validation_cost(cell, 1)
    }

    /// Whether a cell is scored after `step` steps.
    pub fn validates(&self, cell: &Cell, step: usize) -> bool {
        let limit = self.arm(cell).training.steps;
        let before = step.checked_sub(1);
        before.is_none_or(|before| {
            step == limit
                || self.validations_until(cell, step) > self.validations_until(cell, before)
        })
    }

    /// About how many gradient steps are between two validations of a cell.
    pub fn validation_interval(&self, cell: &Cell) -> usize {
        let validation = &self.experiment.validation;
        match validation.candidates {
            0 => validation.every,
            n => self.arm(cell).training.steps.div_ceil(n).max(1),
        }
    }

    /// Validations of a cell from step 0 to `step`: one every k steps, and one at the last step; or n of them, after
    /// ⌈i · steps / n⌉ steps.
    pub fn validations_until(&self, cell: &Cell, step: usize) -> usize {
        let limit = self.arm(cell).training.steps;
        let validation = &self.experiment.validation;
        match validation.candidates {
            0 => {
                let every = validation.every;
                step / every + 1 + usize::from(step == limit && !step.is_multiple_of(every))
            }
            n => 1 + step * n.min(limit) / limit.max(1),
        }
    }

    /// Cost of the whole trajectory of a cell, without what is drawn before it.
    pub fn training_cost(&self, cell: &Cell) -> f64 {
        self.cost_until(cell, self.arm(cell).training.steps)
    }

    /// Cost of what a cell draws before its first step: negatives and class pictures.
    pub fn preparation_cost(&self, cell: &Cell) -> f64 {
        let negatives = self.pictures(cell, Purpose::Negatives);
        self.cost(negatives + self.pictures(cell, Purpose::Class))
    }

    /// Cost of a whole cell if it does not stop early and no two rules agree, so that step 0 and one checkpoint per rule are
    /// tested; for rules that agree the estimate is reduced later.
    pub fn cell_cost(&self, cell: &Cell) -> f64 {
        let tests = (self.rules.len() + 1) as f64;
        self.preparation_cost(cell)
            + self.training_cost(cell)
            + tests * self.own_cost(cell, self.pictures(cell, Purpose::Test))
    }

    /// Cost of the whole experiment.
    pub fn total_cost(&self) -> f64 {
        self.cells.iter().map(|cell| self.cell_cost(cell)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::plan;

    #[test]
    fn arms_of_any_length_have_as_many_candidates() {
        for (steps, n) in [
            (200, 30),
            (250, 30),
            (10, 6),
            (7, 7),
            (7, 9),
            (3000, 10),
            (1, 1),
        ] {
            let plan = plan(&[
                &format!("training.steps={steps}"),
                &format!("validation.candidates={n}"),
            ]);
            let cell = &plan.cells[0];
            let scored: Vec<usize> = (0..=steps).filter(|s| plan.validates(cell, *s)).collect();
            assert_eq!(scored.len(), 1 + n.min(steps), "{steps} {n}: {scored:?}");
            assert_eq!((scored[0], scored.last()), (0, Some(&steps)));
            let gaps = scored.windows(2).map(|w| w[1] - w[0]);
            let (least, most) = (gaps.clone().min().unwrap(), gaps.max().unwrap());
            assert!(most - least <= 1, "{scored:?}");
            assert_eq!(plan.validations_until(cell, steps), scored.len());
        }
        let plan = plan(&["training.steps=50", "validation.every=20"]);
        let scored = (0..=50).filter(|s| plan.validates(&plan.cells[0], *s));
        assert_eq!(scored.collect::<Vec<_>>(), [0, 20, 40, 50]);
    }

    #[test]
    fn rounds_cost_their_pictures_and_their_own_passes() {
        let plan = plan(&[
            "recipe.preset=\"dreambooth_dpo\"",
            "recipe.rounds=3",
            "recipe.rounds_from=0.3",
            "recipe.negative_prompts=2",
            "training.steps=11",
            "training.batch=2",
            "validation.every=100",
        ]);
        let cell = &plan.cells[0];
        // ⌈3.3⌉ steps before, seven in three rounds.
        assert_eq!(plan.round_starts(cell), [4, 6, 8]);
        // References and class, trained; then winners and losers, by both networks.
        assert_eq!(
            (plan.step_cost(cell, false), plan.step_cost(cell, true)),
            (12.0, 16.0)
        );
        let (pictures, scored) = (plan.cost(2 * 4), plan.validation_cost(cell, 0));
        for (step, plain, in_round, begun) in [
            (0, 0, 0, 0),
            (4, 4, 0, 0),
            (5, 4, 1, 1),
            (6, 4, 2, 1),
            (7, 4, 3, 2),
            (10, 4, 6, 3),
        ] {
            let expected = f64::from(12 * plain + 16 * in_round) + f64::from(begun) * pictures;
            assert_eq!(plan.cost_until(cell, step), expected + scored, "{step}");
        }
        let before = plan.preparation_cost(cell);
        assert_eq!(
            before,
            plan.cost(200),
            "the class alone is drawn by the base"
        );
    }

    #[test]
    fn guided_evaluations_count_two_and_the_others_one() {
        let base = ["sampler.steps=10", "training.steps=20"];
        let cost = |set: &str| {
            let plan = plan(&[base[0], base[1], set]);
            (plan.cost(3), plan.total_cost())
        };
        let (whole, all) = cost("sampler.guidance_interval=[0, 1]");
        assert_eq!((whole, all), cost("sampler.guidance=3.0"));
        let (none, least) = cost("sampler.guidance=1.0");
        let (part, some) = cost("sampler.guidance_interval=[0.2, 0.6]");
        assert_eq!((whole, none, part), (60.0, 30.0, 42.0));
        // Training costs the same; pictures cost 14 of 20 passes.
        assert!(((all - some) / (all - least) - 0.6).abs() < 1e-12);
    }

    #[test]
    fn reward_guidance_costs_a_third_pass_of_validation_and_test() {
        let of = |sets: &[&str]| {
            let base = ["recipe.preset=\"dreambooth\"", "sampler.steps=10"];
            let plan = plan(&[&base[..], sets].concat());
            let cell = &plan.cells[0];
            let own = plan.own_cost(cell, 3);
            (own, plan.preparation_cost(cell), plan.cell_cost(cell))
        };
        let on = "recipe.reward_guidance=3";
        let (own, before, plain) = of(&[]);
        let (led, same, all) = of(&[on]);
        assert_eq!((own, led), (60.0, 90.0));
        // Class pictures are the base's.
        assert_eq!(before, same);
        let (part, ..) = of(&[on, "sampler.guidance_interval=[0.2, 0.6]"]);
        let (alone, ..) = of(&[on, "sampler.guidance=1"]);
        assert_eq!((part, alone), (3.0 * (4.0 * 3.0 + 6.0), 60.0));
        let off = of(&[on, "recipe.reward_guidance=\"none\""]);
        assert_eq!(off, (own, before, plain));
        assert!(all > plain);
    }
}
