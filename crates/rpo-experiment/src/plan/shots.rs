//! Shots: the pictures that a cell draws, each with its prompt, the texts that scorers read and the names of its noise.

use super::counts::{class_pictures, negatives_per_prompt, own_per_prompt};
use super::{Cell, Plan};
use crate::fields::RewardText;
use rpo_data::prompts::fill;
use rpo_pref::recipe::{TokenInReward, ValidationNoise, ValidationPrompts};

/// Purpose of a picture; also the name of its noise stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The base model's pictures of the training prompts, one side of the preference pairs.
    Negatives,
    /// The base model's pictures of the class, for prior preservation.
    Class,
    /// The trained model's pictures of the training prompts at the start of a round, both sides of its preference pairs.
    Own,
    /// Pictures whose reward chooses the checkpoint.
    Validation,
    /// Pictures that results are computed from.
    Test,
}

impl Purpose {
    /// Its name in the names of streams.
    pub fn name(self) -> &'static str {
        match self {
            Self::Negatives => "negatives",
            Self::Class => "class",
            Self::Own => "own",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

/// One picture to draw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shot {
    /// What the text encoder reads.
    pub prompt: String,
    /// The text that the reward's encoder reads.
    pub reward_text: String,
    /// The text that the CLIP judge reads.
    pub judge_text: String,
    /// Seed of its noise.
    pub seed: u64,
    /// Its purpose.
    pub purpose: Purpose,
    /// Names of its noise besides seed and purpose. Those of validation and test noise do not include the arm.
    pub names: Vec<String>,
}

impl Plan {
    /// The templates of a cell's pictures: training prompts for negatives and own pictures, held-out ones for validation unless the recipe
    /// says otherwise. Class pictures have no template.
    pub fn templates(&self, cell: &Cell, purpose: Purpose) -> &[String] {
        let prompts = &self.subject(cell).prompts;
        match purpose {
            Purpose::Negatives | Purpose::Own => match self.arm(cell).recipe.negative_prompts {
                0 => &prompts.train,
                n => &prompts.train[..n.min(prompts.train.len())],
            },
            Purpose::Class => &[],
            Purpose::Test => &prompts.test,
            Purpose::Validation => match self.arm(cell).recipe.validation_prompts {
                ValidationPrompts::Validation => &prompts.validation,
                ValidationPrompts::Training => match self.experiment.validation.prompts {
                    0 => &prompts.train,
                    n => &prompts.train[..n.min(prompts.train.len())],
                },
            },
        }
    }

    /// The kind of each of a cell's templates, in their order; those of runs of before kinds have none.
    pub fn kinds(&self, cell: &Cell, purpose: Purpose) -> Vec<Option<&str>> {
        let kinds = &self.subject(cell).prompts.kinds;
        let kinds = match (purpose, self.arm(cell).recipe.validation_prompts) {
            (Purpose::Class, _) => return Vec::new(),
            (Purpose::Test, _) => &kinds.test,
            (Purpose::Negatives | Purpose::Own, _)
            | (Purpose::Validation, ValidationPrompts::Training) => &kinds.train,
            (Purpose::Validation, ValidationPrompts::Validation) => &kinds.validation,
        };
        let count = self.templates(cell, purpose).len();
        (0..count)
            .map(|i| kinds.get(i).and_then(Option::as_deref))
            .collect()
    }

    /// The text of the prompts where the experiment has its own, to be hashed among a run's inputs; without kinds, which change no
    /// picture. `None` where the lists are those that the source of the subjects implies.
    pub fn own_prompts(&self) -> Option<String> {
        if self.experiment.meaning().prompts.is_default() {
            return None;
        }
        let mut text = String::new();
        for subject in &self.subjects {
            let p = &subject.prompts;
            for (name, list) in [
                ("train", &p.train),
                ("validation", &p.validation),
                ("test", &p.test),
            ] {
                text += &format!("{}: {name} {list:?}\n", subject.name);
            }
        }
        Some(text)
    }

    /// Pictures per template that are drawn; for class pictures, all of them, none where they are given.
    pub fn each(&self, cell: &Cell, purpose: Purpose) -> usize {
        match purpose {
            Purpose::Negatives => negatives_per_prompt(&self.arm(cell).recipe),
            Purpose::Class if self.subject(cell).class_pictures.is_some() => 0,
            Purpose::Class => class_pictures(&self.arm(cell).recipe),
            Purpose::Own => own_per_prompt(&self.arm(cell).recipe),
            Purpose::Validation => self.experiment.validation.pictures_per_prompt,
            Purpose::Test => self.experiment.test.pictures_per_prompt,
        }
    }

    /// Number of pictures that a cell draws for `purpose` at a step.
    pub fn pictures(&self, cell: &Cell, purpose: Purpose) -> usize {
        let prompts = match purpose {
            Purpose::Class => 1,
            purpose => self.templates(cell, purpose).len(),
        };
        prompts * self.each(cell, purpose)
    }

    /// The prompts of a cell's pictures, filled in with its token.
    pub fn prompts(&self, cell: &Cell, purpose: Purpose) -> Vec<String> {
        let subject = self.subject(cell);
        let templates = self.templates(cell, purpose).iter();
        templates
            .map(|t| fill(t, Some(&subject.token), &subject.class))
            .collect()
    }

    /// The text that the reward's encoder reads for each prompt.
    pub fn reward_texts(&self, cell: &Cell, purpose: Purpose) -> Vec<String> {
        let keep = match purpose {
            // The same for every arm, whatever its recipe's labels use.
            Purpose::Test => self.experiment.encoders.reward_text == RewardText::Keep,
            _ => self.arm(cell).recipe.token_in_reward == TokenInReward::Keep,
        };
        self.texts(cell, purpose, keep)
    }

    /// The text that the CLIP judge reads for each prompt.
    pub fn judge_texts(&self, cell: &Cell, purpose: Purpose) -> Vec<String> {
        let keep = self.experiment.encoders.clip_text == RewardText::Keep;
        self.texts(cell, purpose, keep)
    }

    fn texts(&self, cell: &Cell, purpose: Purpose, keep: bool) -> Vec<String> {
        let subject = self.subject(cell);
        let token = keep.then_some(subject.token.as_str());
        let templates = self.templates(cell, purpose).iter();
        templates.map(|t| fill(t, token, &subject.class)).collect()
    }

    /// The pictures that a cell draws for `purpose`, by prompt. `step` is used where noise is fresh: at the start of every round, and
    /// at every validation where the recipe says so.
    pub fn shots(&self, cell: &Cell, purpose: Purpose, step: usize) -> Vec<Shot> {
        let (subject, each) = (self.subject(cell), self.each(cell, purpose));
        let shot = |prompt: String, texts: [String; 2], names: Vec<String>| {
            let [reward_text, judge_text] = texts;
            Shot {
                prompt,
                reward_text,
                judge_text,
                seed: cell.seed,
                purpose,
                names,
            }
        };
        if purpose == Purpose::Class {
            let prompt = self.arm(cell).recipe.class_prompt.of(&subject.class);
            let of = |i: usize| {
                let names = vec![subject.class.clone(), i.to_string()];
                shot(prompt.clone(), [prompt.clone(), prompt.clone()], names)
            };
            return (0..each).map(of).collect();
        }
        let fresh = match purpose {
            Purpose::Own => true,
            Purpose::Validation => self.arm(cell).recipe.validation_noise == ValidationNoise::Fresh,
            _ => false,
        };
        // Negatives depend on the class only: subjects of one class share them.
        let of = match purpose {
            Purpose::Negatives => &subject.class,
            _ => &subject.name,
        };
        let texts = self
            .reward_texts(cell, purpose)
            .into_iter()
            .zip(self.judge_texts(cell, purpose));
        let prompts = self.prompts(cell, purpose).into_iter().zip(texts);
        let mut shots = Vec::with_capacity(self.pictures(cell, purpose));
        for (prompt, (reward, judge)) in prompts {
            for i in 0..each {
                let mut names = vec![of.clone(), prompt.clone(), i.to_string()];
                names.extend(fresh.then(|| step.to_string()));
                shots.push(shot(prompt.clone(), [reward.clone(), judge.clone()], names));
            }
        }
        shots
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::plan;
    use super::*;

    #[test]
    fn texts_and_noise_are_those_of_the_recipe() {
        let of = |sets: &[&str], purpose, step| {
            let plan = plan(sets);
            plan.shots(&plan.cells[0], purpose, step)
        };
        let paper = "recipe.preset=\"paper\"";
        let official = "recipe.preset=\"official\"";
        let has_token = |text: &str| text.contains("[v]");
        for (preset, keeps) in [(paper, false), (official, true)] {
            let negatives = of(&[preset], Purpose::Negatives, 0);
            assert!(negatives.iter().all(|s| has_token(&s.prompt)));
            assert!(negatives.iter().all(|s| has_token(&s.reward_text) == keeps));
            assert_eq!(negatives[0].names[0], "lion");
        }
        let fixed = of(&[paper], Purpose::Validation, 20);
        assert_eq!(fixed, of(&[paper], Purpose::Validation, 40));
        let fresh = of(&[official], Purpose::Validation, 20);
        assert_eq!(fresh[0].names.last().unwrap(), "20");
        let test = of(
            &[
                official,
                "encoders.reward_text=\"remove\"",
                "encoders.clip_text=\"keep\"",
            ],
            Purpose::Test,
            20,
        );
        assert!(
            test.iter()
                .all(|s| !has_token(&s.reward_text) && has_token(&s.judge_text))
        );
        assert_eq!(test, of(&["encoders.clip_text=\"keep\""], Purpose::Test, 0));
    }

    #[test]
    fn pictures_are_counted_as_they_are_drawn() {
        let plan = plan(&[
            "recipe.preset=\"dreambooth\"",
            "validation.prompts=3",
            "test.pictures_per_prompt=2",
        ]);
        let cell = &plan.cells[0];
        for purpose in [
            Purpose::Negatives,
            Purpose::Class,
            Purpose::Own,
            Purpose::Validation,
            Purpose::Test,
        ] {
            let shots = plan.shots(cell, purpose, 0);
            assert_eq!(shots.len(), plan.pictures(cell, purpose), "{purpose:?}");
        }
        assert_eq!(plan.pictures(cell, Purpose::Negatives), 0);
        assert_eq!(plan.pictures(cell, Purpose::Class), 200);
        assert_eq!(plan.templates(cell, Purpose::Validation).len(), 3);
        assert_eq!(plan.pictures(cell, Purpose::Own), 0);
    }

    #[test]
    fn every_round_draws_the_training_prompts_anew() {
        let plan = plan(&[
            "recipe.preset=\"dreambooth_dpo\"",
            "recipe.negative_prompts=3",
        ]);
        let cell = &plan.cells[0];
        let [first, second] = [10, 15].map(|step| plan.shots(cell, Purpose::Own, step));
        assert_eq!(first.len(), plan.pictures(cell, Purpose::Own));
        assert_eq!(
            (first.len(), plan.pictures(cell, Purpose::Negatives)),
            (12, 0)
        );
        for (a, b) in first.iter().zip(&second) {
            assert_eq!((&a.prompt, &a.reward_text), (&b.prompt, &b.reward_text));
            assert!(a.names != b.names && a.names[0] == cell_subject(&plan));
        }
    }

    fn cell_subject(plan: &Plan) -> String {
        plan.subject(&plan.cells[0]).name.clone()
    }
}
