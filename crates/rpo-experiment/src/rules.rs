//! The selection rules of an experiment.

use crate::arms::TrainingArm;
use crate::fields::Experiment;
use rpo_pref::recipe::Preset;
use rpo_reward::Lambda;
use rpo_reward::select::{DEFAULT_PATIENCE, Rule};

impl Experiment {
    /// One rule per mean and λ, then `last`.
    ///
    /// Without `rules.patience`, rules run all steps if any arm is `paper` or `official`, as those do; else the patience is 3.
    pub fn selection_rules(&self, arms: &[TrainingArm]) -> Vec<Rule> {
        let r = &self.rules;
        let whole = |a: &TrainingArm| matches!(a.preset, Preset::Paper | Preset::Official);
        let default = if arms.iter().any(whole) {
            0
        } else {
            DEFAULT_PATIENCE
        };
        let patience = Some(r.patience.unwrap_or(default)).filter(|p| *p > 0);
        let mut rules = Vec::new();
        for mean in &r.mean {
            for lambda in &r.lambda {
                let lambda = Lambda::try_new(*lambda).expect("checked when the file was read");
                let name = format!("{} λ {}", mean.name(), lambda.get());
                rules.push(Rule::best(name, *mean, lambda).with_patience(patience));
            }
        }
        if r.last {
            rules.push(Rule::last("last"));
        }
        rules
    }
}
