//! What `check` prints about a plan.

use crate::memory::{self, Memory, Sizes};
use crate::runner::class_folders::GivenClass;
use crate::runner::settings;
use crate::runner::trainable::{self, Shapes};
use crate::{about_photos, disk, speed, texts};
use anyhow::Result;
use rpo_data::subject::Subject;
use rpo_diffusion::Pipeline;
use rpo_experiment::TrainedPart;
use rpo_experiment::plan::{Plan, Purpose};
use rpo_experiment::run::duration;
use rpo_experiment::words::describe_guidance;
use rpo_files::say;
use rpo_reward::select::Kind;

/// Tokens of a text in CLIP's encoders, used if the model is missing.
const TOKENS: usize = 77;

/// The pictures of a plan's subjects.
#[derive(Clone, Copy, Default)]
pub(super) struct Photos<'a> {
    /// With their photos.
    pub(super) subjects: &'a [Subject],
    /// The pictures of their classes that are given.
    pub(super) classes: &'a [Option<GivenClass>],
}

/// Prints the plan and its costs. `photos` and `pipeline` are `None` where they are missing.
pub(super) fn print(
    plan: &Plan,
    sizes: &Sizes,
    photos: Option<Photos>,
    pipeline: Option<&Pipeline>,
) -> Result<()> {
    let cells = &plan.cells;
    let e = &plan.experiment;
    say!("{}: {}", e.name, e.reproduces);
    say!(
        "model      {} ({} px, U-Net of {:.2} M parameters{})",
        e.model.path,
        sizes.size,
        sizes.unet.parameters() as f64 / 1e6,
        if pipeline.is_some() {
            ""
        } else {
            "; not found here"
        }
    );
    say!(
        "encoders   reward {}, CLIP {}, {} {}",
        e.encoders.reward,
        e.encoders.clip,
        e.encoders.vit_name,
        e.encoders.vit
    );
    let names: Vec<&str> = plan.subjects.iter().map(|s| s.name.as_str()).collect();
    say!("subjects   {} ({})", names.len(), names.join(", "));
    let Photos {
        subjects: found,
        classes,
    } = photos.unwrap_or_default();
    for line in about_photos::counts(found) {
        say!("photos     {line}");
    }
    for remark in about_photos::remarks(plan, found, sizes.size as u32) {
        say!("           {remark}");
    }
    for line in about_photos::of_classes(plan, classes, sizes.size as u32) {
        say!("class      {line}");
    }
    let remarks = texts::remarks(plan, found, pipeline)?.into_iter();
    for remark in remarks.chain(texts::of_classes(plan, classes, pipeline)?) {
        say!("           {remark}");
    }
    let unet = sizes.unet.shapes()?;
    let shapes = Shapes {
        unet: &unet,
        texts: &sizes.texts,
    };
    let mut weights = Vec::with_capacity(plan.arms.len());
    let available = memory::available(plan);
    for arm in &plan.arms {
        say!(
            "arm        {}: {}",
            arm.name,
            arm.recipe.describe(arm.preset)
        );
        if let Some(lora) = arm.lora.as_ref().map(settings::lora) {
            say!(
                "           LoRA of rank {}, alpha {}, on {} modules: {:.2} M parameters",
                lora.rank,
                lora.alpha,
                lora.modules(&unet)?.len(),
                lora.parameters(&unet)? as f64 / 1e6
            );
        }
        if let Some(scale) = arm.recipe.reward_guidance {
            say!("           drawn with reward guidance {scale}");
        }
        let trainable = trainable::of(arm);
        let trained = trainable.parameters(shapes)?;
        match arm.parts()[..] {
            [TrainedPart::Unet] | [TrainedPart::Lora] => {}
            [part] => say!("           {} alone: {}", part.words(), count(trained)),
            _ => say!("           {}: {}", arm.what(), count(trained)),
        }
        let starts = arm.recipe.round_starts(arm.training.steps);
        if let Some(cell) = cells.iter().find(|cell| plan.arm(cell).name == arm.name)
            && !starts.is_empty()
        {
            let starts: Vec<String> = starts.iter().map(usize::to_string).collect();
            say!(
                "           rounds of {} own pictures after steps {}",
                plan.pictures(cell, Purpose::Own),
                starts.join(", ")
            );
        }
        weights.push(disk::Weights {
            checkpoint: 4 * trainable.stored(shapes)? * trainable.forms(),
            state: (3 + usize::from(e.candidates.ema > 0.0) + usize::from(arm.recipe.rounds > 0))
                * 4
                * trained,
        });
        let estimate = memory::estimate(plan, arm, trained, sizes, Memory::Host);
        say!("memory     {}", estimate.describe());
        if let Some(available) = available.filter(|a| *a < estimate.total()) {
            say!(
                "           this machine has {}: it would be refused here",
                memory::size(available)
            );
        }
    }
    say!(
        "sampler    {} steps of {}, {}",
        e.sampler.steps,
        serde_json::to_string(&e.sampler.solver)?.trim_matches('"'),
        describe_guidance(e.sampler.guidance, e.sampler.guidance_interval)
    );
    if let Some(saved) = e.savings(&plan.arms) {
        say!("           {saved}");
    }
    for rule in &plan.rules {
        let patience = match (rule.kind, rule.patience) {
            (Kind::Best, Some(1)) => "patience 1 validation".into(),
            (Kind::Best, Some(n)) => format!("patience {n} validations"),
            (Kind::Best, None) => "runs all steps".into(),
            (Kind::Last, _) => "takes the last of all steps".to_owned(),
        };
        say!("rule       {}: {patience}", rule.name);
    }
    let limit = |arm: usize| plan.arms[arm].training.steps;
    let steps = (0..plan.arms.len()).map(limit).max().unwrap_or_default();
    say!(
        "cells      {} of at most {steps} steps, scored {}{}",
        match cells.len() {
            1 => "1 trajectory".to_owned(),
            n => format!("{n} trajectories"),
        },
        match e.validation.candidates {
            0 => format!("every {}", e.validation.every),
            n => format!("{n} times"),
        },
        candidates(plan)
    );
    let tests: usize = plan.subjects.iter().map(|s| s.prompts.test.len()).sum();
    say!(
        "test       {tests} prompts{} x {} pictures for each arm, seed and chosen checkpoint",
        by_kind(plan),
        e.test.pictures_per_prompt
    );
    let total = plan.total_cost();
    let validation: f64 = cells
        .iter()
        .map(|c| {
            let after = plan.validations_until(c, limit(c.arm)) - 1;
            plan.validation_cost(c, 0) + after as f64 * plan.validation_cost(c, 1)
        })
        .sum();
    say!(
        "cost       at most {total:.0} U-Net forwards, {:.0} % of them in validation",
        100.0 * validation / total
    );
    let side = sizes.size / sizes.factor.max(1);
    let tokens = pipeline.map(|p| p.tokens("")).transpose()?;
    let tokens = tokens.map_or(TOKENS, |(_, read)| read);
    let forward = sizes.unet.multiplications(side, side, tokens) as f64;
    let speed = speed::multiplications_a_second()?;
    say!(
        "time       about {} on this CPU, of the U-Net alone (a rough estimate: {:.0} GFLOP/s in products of matrices)",
        duration(total * forward / speed),
        2e-9 * speed
    );
    let written = disk::estimate(plan, sizes.size, |arm| weights[arm]);
    say!("disk       {}", written.describe());
    Ok(())
}

/// `, each time with scale 0.4, EMA`
fn candidates(plan: &Plan) -> String {
    let all: Vec<String> = plan.variants().iter().map(|v| v.in_words()).collect();
    match all.is_empty() {
        true => String::new(),
        false => format!(", each time with {}", all.join(", ")),
    }
}

/// `0.16 M parameters`, or `128 parameters`.
fn count(parameters: usize) -> String {
    match parameters {
        n if n < 10_000 => format!("{n} parameters"),
        n => format!("{:.2} M parameters", n as f64 / 1e6),
    }
}

/// How many test prompts there are of each kind, over all subjects; empty where prompts have none.
fn by_kind(plan: &Plan) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    let mut seen = vec![false; plan.subjects.len()];
    for cell in &plan.cells {
        if std::mem::replace(&mut seen[cell.subject], true) {
            continue;
        }
        for kind in plan.kinds(cell, Purpose::Test).into_iter().flatten() {
            match counts.iter_mut().find(|(name, _)| *name == kind) {
                Some((_, n)) => *n += 1,
                None => counts.push((kind, 1)),
            }
        }
    }
    let counts: Vec<String> = counts
        .iter()
        .map(|(kind, n)| format!("{n} {kind}"))
        .collect();
    match counts.is_empty() {
        true => String::new(),
        false => format!(" ({})", counts.join(", ")),
    }
}
