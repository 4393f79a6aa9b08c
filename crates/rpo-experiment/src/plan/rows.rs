//! The rows of an experiment's results: the base model, then every rule of every arm.

use super::Plan;
use crate::arms::TrainingArm;
use crate::layer::Layers;
use crate::words::{same_name, suggest};
use anyhow::Result;
use rpo_reward::select::Rule;

/// Name of the base model's row.
pub const STEP_0: &str = "step 0";

/// A row of the results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// `step 0`, the rule, or `ARM · RULE` where there are several arms.
    pub name: String,
    /// Index of the arm; for the base model, which belongs to all, of the first one that draws without reward guidance.
    pub arm: usize,
    /// Index of the rule; `None` for the base model.
    pub rule: Option<usize>,
}

impl Plan {
    /// The rows in order.
    pub fn rows(&self) -> Vec<Row> {
        let plain = |arm: &TrainingArm| arm.recipe.reward_guidance.is_none();
        let mut rows = vec![Row {
            name: STEP_0.into(),
            arm: self.arms.iter().position(plain).unwrap_or(0),
            rule: None,
        }];
        for (a, arm) in self.arms.iter().enumerate() {
            for (r, rule) in self.rules.iter().enumerate() {
                let name = match self.arms.len() {
                    1 => rule.name.clone(),
                    _ => format!("{} · {}", arm.name, rule.name),
                };
                rows.push(Row {
                    name,
                    arm: a,
                    rule: Some(r),
                });
            }
        }
        rows
    }

    /// The name of the row that `baseline` means: its own, whatever blanks and letters' case, or that of `ARM` where the arm has one
    /// rule.
    ///
    /// # Errors
    /// What is wrong, with the rows and the nearest one.
    pub fn row_named(&self, baseline: &str) -> Result<String, String> {
        let rows = self.rows();
        if let Some(row) = rows.iter().find(|row| same_name(&row.name, baseline)) {
            return Ok(row.name.clone());
        }
        let of_arm: Vec<&Row> = rows
            .iter()
            .filter(|row| row.rule.is_some() && same_name(&self.arms[row.arm].name, baseline))
            .collect();
        if let [one] = of_arm.as_slice() {
            return Ok(one.name.clone());
        }
        let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        Err(format!(
            "\"{baseline}\" is no row of the results\n  hint: {}",
            suggest(baseline, &names)
        ))
    }

    /// The rule of this name, as [`Self::row_named`] compares names.
    ///
    /// # Errors
    /// What is wrong, with the rules and the nearest one.
    pub fn rule_named(&self, name: &str) -> Result<&Rule, String> {
        let found = self.rules.iter().find(|rule| same_name(&rule.name, name));
        found.ok_or_else(|| {
            let names: Vec<&str> = self.rules.iter().map(|rule| rule.name.as_str()).collect();
            format!(
                "the run has no rule \"{name}\"\n  hint: {}",
                suggest(name, &names)
            )
        })
    }

    pub(super) fn check_baseline(&self, layers: &Layers) -> Result<()> {
        let baseline = &self.experiment.report.baseline;
        if baseline.is_empty() {
            return Ok(());
        }
        let found = self.row_named(baseline);
        found
            .map(|_| ())
            .map_err(|message| layers.error("report.baseline", &message))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::plan;

    #[test]
    fn a_baseline_is_found_by_its_name() {
        let one = plan(&["rules.lambda=[0.3]", "rules.last=true"]);
        assert_eq!(one.row_named("Last").unwrap(), "last");
        let said = one.row_named("lst").unwrap_err();
        assert!(said.contains("did you mean \"last\"?"), "{said}");
        let arms = "arm=[{name=\"L_sim\"},{name=\"L_sim + L_pref\"}]";
        let two = plan(&[arms, "rules.lambda=[0.3]", "rules.last=false"]);
        let name = two.rows()[2].name.clone();
        assert!(name.starts_with("L_sim + L_pref · "), "{name}");
        assert_eq!(two.row_named(&name.replace(" · ", "·")).unwrap(), name);
        assert_eq!(two.row_named("l_sim + l_pref").unwrap(), name);
        assert_eq!(two.row_named("step 0").unwrap(), "step 0");
        // Two rules: the arm alone is not enough.
        let rules = plan(&[arms, "rules.lambda=[0.3]", "rules.last=true"]);
        assert!(
            rules
                .row_named("L_sim")
                .unwrap_err()
                .contains("they are step 0, ")
        );
    }

    #[test]
    fn a_wrong_baseline_is_an_error_at_its_key_and_no_part_of_the_meaning() {
        let of = |key: &str| {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("x.toml");
            std::fs::write(&file, format!("[report]\n{key}\n")).unwrap();
            let (experiment, layers) = crate::read(&file, &[], &[])?;
            super::Plan::of(experiment, &layers)
        };
        let said = of("baseline = \"setp 0\"").unwrap_err().to_string();
        assert!(
            said.contains("x.toml:2") && said.contains("\"step 0\""),
            "{said}"
        );
        assert!(
            of("margin = 0.0")
                .unwrap_err()
                .to_string()
                .contains("report.margin")
        );
        let plain = of("").unwrap().experiment;
        let keys = of("baseline = \"step 0\"\nmargin = 0.01")
            .unwrap()
            .experiment;
        assert_ne!(keys, plain);
        assert_eq!(keys.meaning(), plain.meaning());
        assert!(!toml::to_string(&plain).unwrap().contains("[report]"));
    }
}
