//! What a file saves against the published recipes: told wherever a run of theirs starts or is reported, never silent.

use super::arms::TrainingArm;
use super::fields::Experiment;
use rpo_pref::recipe::Preset;
use rpo_report::words::describe_guidance;

/// Solver steps of the paper and its code.
const STEPS: usize = 50;
/// Their validation prompts.
const PROMPTS: usize = 8;
/// Pictures for each of them.
const PICTURES: usize = 4;

impl Experiment {
    /// A line where an arm has the name of a published recipe and its pictures cost less than published.
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
                "{} validation pictures a prompt for {PICTURES}",
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
    use crate::experiment::read;
    use crate::plan::cells;
    use crate::runner::{outline::Outline, total_cost};

    fn outline(sets: &[&str]) -> Outline {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.toml");
        std::fs::write(&file, "[subjects]\ncount = 1\n").unwrap();
        let sets: Vec<String> = sets.iter().map(|&s| s.to_owned()).collect();
        let (experiment, layers) = read(&file, &[], &sets).unwrap();
        Outline::load(experiment, &layers).unwrap()
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
            let whole = outline(&published);
            assert_eq!(whole.sampler().guidance_interval, None);
            assert_eq!(whole.experiment.savings(&whole.arms), None);
            assert!(
                !toml::to_string(&whole.experiment)
                    .unwrap()
                    .contains("interval")
            );
            let less = [&published[..], &["sampler.guidance_interval=[0, 0.6]"]].concat();
            let less = outline(&less);
            let told = less.experiment.savings(&less.arms).unwrap();
            assert!(
                told.contains("guidance 3 from 0 to 0.6 of the trajectory"),
                "{told}"
            );
        }
        let short = outline(&["recipe.preset=\"paper\""]);
        let told = short.experiment.savings(&short.arms).unwrap();
        assert!(
            told.contains("15 solver steps") && told.contains("2 validation pictures"),
            "{told}"
        );
        let ours = outline(&["sampler.guidance_interval=[0, 0.6]"]);
        assert_eq!(ours.experiment.savings(&ours.arms), None);
    }

    #[test]
    fn guided_evaluations_count_two_and_the_others_one() {
        let base = ["sampler.steps=10", "training.steps=20"];
        let cost = |set: &str| {
            let outline = outline(&[base[0], base[1], set]);
            (outline.cost(3), total_cost(&outline, &cells(&outline)))
        };
        let (whole, all) = cost("sampler.guidance_interval=[0, 1]");
        assert_eq!((whole, all), cost("sampler.guidance=3.0"));
        let (none, least) = cost("sampler.guidance=1.0");
        let (part, some) = cost("sampler.guidance_interval=[0.2, 0.6]");
        assert_eq!((whole, none, part), (60.0, 30.0, 42.0));
        // Training costs the same, pictures 14 passes of 20.
        assert!(((all - some) / (all - least) - 0.6).abs() < 1e-12);
    }
}
