//! Reports where a file draws cheaper pictures than the published recipe that it names.

use crate::arms::TrainingArm;
use crate::fields::Experiment;
use crate::words::describe_guidance;
use rpo_pref::recipe::Preset;

/// Solver steps of the paper and its code.
const STEPS: usize = 50;
/// Their validation prompts.
const PROMPTS: usize = 8;
/// Pictures per prompt.
const PICTURES: usize = 4;

impl Experiment {
    /// One line if an arm has the name of a published recipe and its pictures cost less than published.
    pub fn savings(&self, arms: &[TrainingArm]) -> Option<String> {
        let published = |a: &&TrainingArm| {
            matches!(
                a.preset,
                Preset::Paper | Preset::Official | Preset::OfficialSdxl
            )
        };
        let arm = arms.iter().find(published)?;
        let (sampler, validation) = (&self.sampler, &self.validation);
        let mut saved = Vec::new();
        if sampler.steps < STEPS {
            saved.push(format!("{} solver steps for {STEPS}", sampler.steps));
        }
        if sampler.guidance_interval.is_some() {
            saved.push(describe_guidance(
                sampler.guidance,
                sampler.guidance_interval,
            ));
        }
        if validation.pictures_per_prompt < PICTURES {
            saved.push(format!(
                "{} validation pictures per prompt for {PICTURES}",
                validation.pictures_per_prompt
            ));
        }
        if (1..PROMPTS).contains(&validation.prompts) {
            saved.push(format!(
                "{} validation prompts for {PROMPTS}",
                validation.prompts
            ));
        }
        let preset = arm.preset.name();
        (!saved.is_empty()).then(|| {
            format!(
                "less than published of recipe `{preset}`: {}",
                saved.join(", ")
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::{Experiment, TrainingArm, read};

    fn resolved(sets: &[&str]) -> (Experiment, Vec<TrainingArm>) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.toml");
        std::fs::write(&file, "[subjects]\ncount = 1\n").unwrap();
        let sets: Vec<String> = sets.iter().map(|&s| s.to_owned()).collect();
        let (experiment, layers) = read(&file, &[], &sets).unwrap();
        let arms = experiment.training_arms(&layers).unwrap();
        (experiment, arms)
    }

    #[test]
    fn nothing_is_saved_unless_the_file_says_so_and_then_it_is_told() {
        for recipe in ["paper", "official"] {
            let recipe = format!("recipe.preset=\"{recipe}\"");
            let published = [
                recipe.as_str(),
                "sampler.steps=50",
                "validation.pictures_per_prompt=4",
            ];
            let (whole, arms) = resolved(&published);
            assert_eq!(whole.sampler.guidance_interval, None);
            assert_eq!(whole.savings(&arms), None);
            assert!(!toml::to_string(&whole).unwrap().contains("interval"));
            let less = [&published[..], &["sampler.guidance_interval=[0, 0.6]"]].concat();
            let (less, arms) = resolved(&less);
            let told = less.savings(&arms).unwrap();
            assert!(
                told.contains("guidance 3 from 0 to 0.6 of the trajectory"),
                "{told}"
            );
        }
        let (short, arms) = resolved(&["recipe.preset=\"paper\""]);
        let told = short.savings(&arms).unwrap();
        assert!(
            told.contains("15 solver steps") && told.contains("2 validation pictures"),
            "{told}"
        );
        let (ours, arms) = resolved(&["sampler.guidance_interval=[0, 0.6]"]);
        assert_eq!(ours.savings(&arms), None);
    }
}
