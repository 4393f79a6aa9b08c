//! Gathers the report's data from a run folder.

use super::ended::ended;
use super::finished::AllFinished;
use super::rows::{Columns, Row};
use super::samples::{SAMPLE_PROMPTS, samples};
use super::settings::{arms, rule, setup};
use super::shown::shown;
use super::test_table::test_table;
use super::thumbnails::Thumbnails;
use super::trajectory::{STRIP, trajectory};
use crate::page::data::{self, ReportData, Trajectory};
use crate::table::Table;
use anyhow::Result;
use rpo_experiment::plan::Plan;
use rpo_experiment::run::{Run, RunInfo};

/// The whole report.
pub(super) fn data(
    plan: &Plan,
    info: &RunInfo,
    run: &Run,
    finished: &AllFinished,
    tested: Option<&(Vec<Row>, Columns, Table)>,
) -> Result<ReportData> {
    let e = &plan.experiment;
    let times = run.times(&plan.cells);
    let samples_each = SAMPLE_PROMPTS * (plan.rules.len() + 1);
    let shown = shown(finished);
    let thumbnails = Thumbnails::of(plan, run, &shown, STRIP, samples_each);
    let trajectories: Vec<Trajectory> = shown
        .iter()
        .map(|c| trajectory(plan, &thumbnails, c))
        .collect::<Result<_>>()?;
    Ok(ReportData {
        title: e.name.replace('_', " "),
        name: e.name.clone(),
        description: e.reproduces.clone(),
        created: ended(plan, run),
        version: env!("CARGO_PKG_VERSION").into(),
        setup: setup(plan, info, run),
        times: data::Times {
            total: times.total,
            negatives: times.negatives,
            training: times.training,
            validation: times.validation,
            test: times.test,
        },
        arms: arms(plan),
        rules: plan.rules.iter().map(rule).collect(),
        trajectories,
        test: tested.map(|(rows, columns, table)| test_table(plan, rows, columns, table)),
        beside: tested
            .map(|(.., table)| table.beside.clone())
            .unwrap_or_default(),
        samples: match tested {
            Some((rows, ..)) => samples(plan, &thumbnails, &finished.compared(), rows)?,
            None => Vec::new(),
        },
        settings: toml::to_string_pretty(e)?,
        // The rows themselves list shared checkpoints.
        notes: tested
            .into_iter()
            .flat_map(|(.., table)| table.notes.clone())
            .chain(
                finished
                    .missing
                    .iter()
                    .filter(|_| tested.is_none())
                    .cloned(),
            )
            .chain(e.savings(&plan.arms))
            .chain(thumbnails.note())
            .collect(),
    })
}
