//! The settings of a run, for the head of the page.

use crate::page::data::{self, ArmKeys, Encoder};
use rpo_experiment::plan::{Plan, Purpose};
use rpo_experiment::run::{Run, RunInfo};
use rpo_reward::select::Rule;
use std::collections::BTreeSet;

pub(super) fn setup(plan: &Plan, info: &RunInfo, run: &Run) -> data::Setup {
    let e = &plan.experiment;
    let encoder = |role: &str, name: &str, stands_for: &str| Encoder {
        role: role.into(),
        name: name.into(),
        stands_for: stands_for.into(),
    };
    let first = &plan.cells[0];
    data::Setup {
        cells: plan.cells.len(),
        model: e.model.path.clone(),
        recipes: plan.arms.iter().map(|a| a.describe()).collect(),
        encoders: vec![
            encoder(
                "reward",
                &e.encoders.reward,
                "ALIGN-I and ALIGN-T of the reward",
            ),
            encoder("CLIP", &e.encoders.clip, "the judge of CLIP-I and CLIP-T"),
            encoder("ViT", &e.encoders.vit, "the judge of image similarity"),
        ],
        device: machines(plan, info, run),
        seeds: e.seeds.clone(),
        steps: e.training.steps,
        validation_interval: e.validation.every,
        validation_pictures: plan.pictures(first, Purpose::Validation),
        test_pictures_per_prompt: e.test.pictures_per_prompt,
        test_prompts: plan.templates(first, Purpose::Test).len(),
        negatives: plan.pictures(first, Purpose::Negatives),
        solver: info.solver.clone(),
        sampler_steps: e.sampler.steps,
        guidance: e.sampler.guidance,
        guidance_interval: e.sampler.guidance_interval,
    }
}

/// What each arm of the file changes, key by key.
pub(super) fn arms(plan: &Plan) -> Vec<ArmKeys> {
    let arms = plan.experiment.arms.iter();
    arms.map(|arm| {
        let empty = toml::Table::new();
        let tables = [
            ("recipe", &arm.recipe),
            ("training", &arm.training),
            ("lora", arm.lora.as_ref().unwrap_or(&empty)),
        ];
        let keys = tables.iter().flat_map(|(table, keys)| {
            let write = move |(key, value)| format!("{table}.{key} = {value}");
            keys.iter().map(write)
        });
        ArmKeys {
            name: arm.name.clone(),
            keys: keys.collect(),
        }
    })
    .collect()
}

/// The machine that began the run; of one whose cells compute elsewhere, theirs.
fn machines(plan: &Plan, info: &RunInfo, run: &Run) -> String {
    if !info.machine.is_empty() {
        return info.machine.clone();
    }
    let lives = plan
        .cells
        .iter()
        .filter_map(|cell| run.trajectory(cell).life());
    let named: BTreeSet<String> = lives
        .map(|life| life.machine)
        .filter(|m| !m.is_empty())
        .collect();
    named.into_iter().collect::<Vec<_>>().join(" / ")
}

pub(super) fn rule(rule: &Rule) -> data::Rule {
    data::Rule {
        id: rule.name.clone(),
        label: rule.name.clone(),
        kind: rule.kind,
        mean: rule.mean,
        lambda: rule.lambda.get(),
        patience: rule.patience,
    }
}
