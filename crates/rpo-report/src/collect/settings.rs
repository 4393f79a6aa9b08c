//! The settings of a run, for the head of the page.

use crate::page::data::{self, ArmKeys, Encoder};
use rpo_experiment::Arm;
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
    let image_adapters = plan
        .arms
        .iter()
        .filter_map(|arm| arm.image_adapter.as_ref());
    let image_encoder = image_adapters.take(1).map(|keys| {
        let name = match keys.encoder.as_str() {
            "" => "the model's own",
            name => name,
        };
        encoder("CLIP", name, "what image adapters read in training")
    });
    let first = &plan.cells[0];
    let cells = plan.cells.iter();
    data::Setup {
        cells: plan.cells.len(),
        model: e.model.path.clone(),
        recipes: plan.arms.iter().map(|a| a.describe()).collect(),
        encoders: [
            encoder(
                "reward",
                &e.encoders.reward,
                "ALIGN-I and ALIGN-T of the reward",
            ),
            encoder("CLIP", &e.encoders.clip, "the judge of CLIP-I and CLIP-T"),
            encoder("ViT", &e.encoders.vit, "the judge of image similarity"),
        ]
        .into_iter()
        .chain(image_encoder)
        .collect(),
        device: machines(plan, info, run),
        seeds: e.seeds.clone(),
        steps: plan
            .arms
            .iter()
            .map(|arm| arm.training.steps)
            .max()
            .unwrap_or(0),
        validation_interval: cells
            .clone()
            .map(|cell| plan.validation_interval(cell))
            .min()
            .unwrap_or(e.validation.every),
        candidates: e.validation.candidates,
        validation_pictures: plan.pictures(first, Purpose::Validation),
        test_pictures_per_prompt: e.test.pictures_per_prompt,
        test_prompts: plan.templates(first, Purpose::Test).len(),
        negatives: cells
            .map(|cell| plan.pictures(cell, Purpose::Negatives))
            .max()
            .unwrap_or(0),
        solver: info.solver.clone(),
        sampler_steps: e.sampler.steps,
        guidance: e.sampler.guidance,
        guidance_interval: e.sampler.guidance_interval,
    }
}

/// What each arm of the file changes.
pub(super) fn arms(plan: &Plan) -> Vec<ArmKeys> {
    let arms = plan.experiment.arms.iter();
    arms.map(|arm| ArmKeys {
        name: arm.name.clone(),
        keys: keys(arm),
    })
    .collect()
}

/// The keys that an arm replaces, one a line of the file.
fn keys(arm: &Arm) -> Vec<String> {
    let tables = [
        ("recipe", Some(&arm.recipe)),
        ("training", Some(&arm.training)),
        ("lora", arm.lora.as_ref()),
        ("token", arm.token.as_ref()),
        ("text_encoder", arm.text_encoder.as_ref()),
    ];
    let mut keys = Vec::new();
    for (name, table) in tables {
        let Some(table) = table else { continue };
        keys.extend(
            table
                .iter()
                .map(|(key, value)| format!("{name}.{key} = {value}")),
        );
        // An empty table trains adapters with the keys that all arms share.
        if name == "lora" && table.is_empty() {
            keys.push("lora = {}".into());
        }
    }
    if let Some(train) = &arm.train {
        let parts: Vec<&str> = train.parts.iter().map(|part| part.name()).collect();
        keys.push(format!("train.parts = {parts:?}"));
        for (part, rate) in &train.rates {
            keys.push(format!("train.rates.{} = {rate}", part.name()));
        }
        for (part, phase) in &train.phases {
            keys.push(format!("train.phases.{} = {phase:?}", part.name()));
        }
    }
    keys
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_an_arm_are_written_as_in_its_file() {
        let read = |text: &str| keys(&toml::from_str(text).expect("an arm"));
        let arm = "name = \"L_sim\"\nrecipe = { l_pref_weight = 0.0, preset = \"ours\" }\ntraining.steps = 100\nlora = { rank = 4 }";
        assert_eq!(
            read(arm),
            [
                "recipe.l_pref_weight = 0.0",
                "recipe.preset = \"ours\"",
                "training.steps = 100",
                "lora.rank = 4"
            ]
        );
        assert_eq!(read("name = \"whole\"\nrecipe = {}"), [""; 0]);
        assert_eq!(read("name = \"adapters\"\nlora = {}"), ["lora = {}"]);
        let parts = read("name = \"kv\"\ntrain = { parts = [\"cross_attention\"] }");
        assert_eq!(parts, ["train.parts = [\"cross_attention\"]"]);
    }
}
