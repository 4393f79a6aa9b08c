//! Arguments that name the rule whose choice is taken.

use super::numbers::finite;
use anyhow::Result;
use clap::Args;
use rpo_experiment::plan::Plan;
use rpo_files::failure::BadInput;
use rpo_reward::select::{Kind, Rule};
use rpo_reward::{Lambda, Mean};

/// Arguments that name a rule; without any it is the run's first.
#[derive(Args)]
pub(super) struct ChooserArgs {
    /// Take the checkpoint that this rule of the run chose, such as "harmonic λ 0.3" or last
    #[arg(long, value_name = "NAME", conflicts_with_all = ["step", "lambda"])]
    rule: Option<String>,
    /// Take the checkpoint that this λ_val chooses from the run's validation scores, without training again; 0 to 1
    #[arg(long, value_name = "λ", conflicts_with = "step", value_parser = finite)]
    lambda: Option<f64>,
}

impl ChooserArgs {
    /// Whether a rule is named.
    pub(super) fn is_given(&self) -> bool {
        self.rule.is_some() || self.lambda.is_some()
    }

    /// The rule.
    ///
    /// # Errors
    /// [`BadInput`] if the run has no such rule, or λ is out of range.
    pub(super) fn rule(&self, plan: &Plan) -> Result<Rule> {
        if let Some(name) = &self.rule {
            let found = plan.rule_named(name).cloned();
            return found.map_err(|e| BadInput::new(format!("--rule: {e}; any other λ: --lambda")));
        }
        let Some(lambda) = self.lambda else {
            return Ok(plan.rules[0].clone());
        };
        let lambda =
            Lambda::try_new(lambda).map_err(|e| BadInput::new(format!("--lambda: {e}")))?;
        // Mean and patience as the run has them.
        let best = plan.rules.iter().find(|rule| rule.kind == Kind::Best);
        let own = Rule::best(format!("λ {}", lambda.get()), Mean::Harmonic, lambda);
        Ok(best.map_or(own.clone(), |best| Rule {
            mean: best.mean,
            patience: best.patience,
            ..own
        }))
    }
}
