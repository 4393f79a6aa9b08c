//! Experiment files: resolved to a plan, and written out again.

use super::made::{arg, folder, named, program};
use crate::case::Case;
use crate::target::{Target, ensure_fault};
use anyhow::Result;
use rpo_experiment::plan::{Plan, Purpose};

const NAME: &str = "experiment.toml";

/// Every file in the tree, and one with every key.
fn seeds() -> Result<Vec<Case>> {
    let files = folder("experiments")?.files;
    let toml = files
        .into_iter()
        .filter(|(name, _)| name.ends_with(".toml"));
    let mut all: Vec<Vec<u8>> = toml.map(|(_, text)| text).collect();
    let quick = all.first().cloned().unwrap_or_default();
    all.push(quick);
    for preset in ["ours", "paper"] {
        let text = format!(
            "seeds = [0, 1]\n[recipe]\npreset = \"{preset}\"\n[[arm]]\nname = \"a\"\n[[arm]]\nname = \"b\"\nlora = {{ rank = 4 }}\n"
        );
        let case = Case::of(NAME, text.clone());
        let place = tempfile::tempdir()?;
        case.write(place.path(), &Case::default())?;
        let (experiment, _) = rpo_experiment::read(&place.path().join(NAME), &[], &[])?;
        all.push(toml::to_string(&experiment)?.into_bytes());
        all.push(text.into_bytes());
    }
    Ok(named(NAME, all))
}

pub(super) const EXPERIMENT: Target = Target::new(
    "experiment",
    "an experiment file, and its plan",
    seeds,
    |folder| {
        let path = folder.join(NAME);
        let (experiment, layers) = rpo_experiment::read(&path, &[], &[])?;
        let text = toml::to_string(&experiment)?;
        let plan = Plan::of(experiment.clone(), &layers)
            .map_err(|e| e.context(path.display().to_string()))?;
        // What is resolved resolves to itself.
        std::fs::write(folder.join("resolved.tmp"), &text)?;
        let again = rpo_experiment::read(&folder.join("resolved.tmp"), &[], &[]);
        let (again, _) =
            again.map_err(|e| crate::wrong(format!("resolved, it is refused: {e:#}")))?;
        ensure_fault(again == experiment, || {
            "resolved, it is another experiment".into()
        })?;
        plan.check()
            .map_err(|e| crate::wrong(format!("its plan is refused: {e:#}")))?;
        let written = serde_json::to_string(&plan)?;
        let read: Plan = serde_json::from_str(&written)
            .map_err(|e| crate::wrong(format!("its plan is not read again: {e}")))?;
        ensure_fault(read == plan, || "its plan is read as another".into())?;
        if let Some(cell) = plan.cells.first() {
            for purpose in [Purpose::Validation, Purpose::Test] {
                ensure_fault(plan.pictures(cell, purpose) < 1 << 32, || {
                    "2^32 pictures".into()
                })?;
            }
        }
        Ok(())
    },
);

pub(super) const PLAN: Target = Target {
    verb: true,
    writes: true,
    ..Target::new("plan", "`plan` of an experiment file", seeds, |folder| {
        program(&[
            "plan",
            &arg(folder, NAME),
            "--out",
            &arg(folder, "out.json"),
        ])
    })
};
