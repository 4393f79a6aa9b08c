//! Rows of several runs in one table, paired where that is fair.

use super::finished::AllFinished;
use super::rows::{self, Columns, Row};
use crate::page::row_name;
use crate::table::{Arm, Metric, Settings, Table};
use anyhow::Result;
use rpo_experiment::plan::{Cell, Plan, Purpose};
use rpo_experiment::run::{Run, RunInfo};
use rpo_experiment::words::suggest;
use rpo_files::failure::BadInput;
use std::collections::BTreeSet;

/// A run to compare.
pub struct Compared {
    /// What it is called in the table; unique.
    pub name: String,
    /// Its plan.
    pub plan: Plan,
    /// Its facts.
    pub info: RunInfo,
    /// Its folder.
    pub run: Run,
}

/// The rows of all runs in the metrics that all of them have; `None` if there are none.
///
/// Two rows of different runs are paired on the subjects and seeds whose photos, prompts, noise, size of pictures and judges are
/// equal, by their hashes; runs of versions that did not record these are compared with themselves only.
///
/// # Errors
/// A baseline that is no row.
pub fn across(
    runs: &[Compared],
    baseline: Option<&str>,
    margin: Option<f64>,
) -> Result<Option<Table>> {
    let mut all: Vec<(usize, Columns, Vec<Arm>)> = Vec::new();
    for (i, compared) in runs.iter().enumerate() {
        let finished = AllFinished::of(&compared.plan, &compared.run);
        let cells = finished.compared();
        if cells.is_empty() {
            continue;
        }
        let rows: Vec<Row> = rows::rows(&compared.plan, &cells);
        let columns = Columns::of(&compared.plan, &rows);
        let pair = |cell: &Cell| unit(i, compared, cell);
        let arm = |row| rows::arm(&compared.plan, &columns, row, &pair);
        let mut arms: Vec<Arm> = rows.iter().map(arm).collect::<Result<_>>()?;
        for arm in &mut arms {
            arm.name = row_name(&compared.name, &arm.name);
            // Ids of trainings are those of a run; two runs may have other models and samplers.
            for checkpoint in arm.chosen.values_mut() {
                *checkpoint = format!("{}: {checkpoint}", compared.run.path.display());
            }
            arm.arm = match arm.arm.as_str() {
                "" => compared.name.clone(),
                own => row_name(&compared.name, own),
            };
        }
        all.push((i, columns, arms));
    }
    let Some((_, first, _)) = all.first() else {
        return Ok(None);
    };
    let metrics: Vec<Metric> = first
        .metrics()
        .into_iter()
        .filter(|metric| all.iter().all(|(_, c, _)| c.metrics().contains(metric)))
        .collect();
    if metrics.is_empty() {
        return Ok(None);
    }
    let arms: Vec<Arm> = all
        .into_iter()
        .flat_map(|(_, c, arms)| common(&metrics, &c, arms))
        .collect();
    let baselines = match baseline {
        None => vec![default(runs, &arms)],
        Some(wanted) => vec![named(runs, &arms, wanted)?],
    };
    let settings = Settings {
        baselines,
        margin: margin.unwrap_or(runs[0].plan.experiment.report.margin),
    };
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    let title = format!("Runs compared: {}", names.join(", "));
    let mut table = Table::build(title, metrics, &arms, &settings)?;
    let told = paired(&table, runs);
    table.notes.extend(told);
    Ok(Some(table))
}

/// The samples of the common metrics only.
fn common(metrics: &[Metric], columns: &Columns, arms: Vec<Arm>) -> Vec<Arm> {
    let own = columns.metrics();
    let places: Vec<usize> = metrics
        .iter()
        .filter_map(|metric| own.iter().position(|m| m == metric))
        .collect();
    let of = |arm: Arm| Arm {
        samples: places.iter().map(|i| arm.samples[*i].clone()).collect(),
        ..arm
    };
    arms.into_iter().map(of).collect()
}

/// The baseline of the first run's experiment, if it has results, else the first row.
fn default(runs: &[Compared], arms: &[Arm]) -> String {
    let Compared { name, plan, .. } = &runs[0];
    let own = match plan.experiment.report.baseline.as_str() {
        "" => None,
        own => plan.row_named(own).ok(),
    };
    let own = own.map(|row| row_name(name, &row));
    own.filter(|own| arms.iter().any(|arm| arm.name == *own))
        .unwrap_or_else(|| arms[0].name.clone())
}

/// The row that `RUN: ROW` means, its second part as within a run.
fn named(runs: &[Compared], arms: &[Arm], wanted: &str) -> Result<String> {
    let within = runs.iter().find_map(|run| {
        let row = wanted.trim().strip_prefix(&run.name)?;
        let row = run.plan.row_named(row.trim_start().strip_prefix(':')?);
        row.ok().map(|row| row_name(&run.name, &row))
    });
    let names: Vec<&str> = arms.iter().map(|arm| arm.name.as_str()).collect();
    if let Some(found) = within.filter(|row| names.contains(&row.as_str())) {
        return Ok(found);
    }
    Err(BadInput::new(format!(
        "--baseline: \"{wanted}\" is no row of these runs\n  hint: {}",
        suggest(wanted, &names)
    )))
}

/// What must be equal for a fair pair: the seed, and a hash of photos, prompts, texts that are judged, number and size of pictures,
/// and judges. Without these records it is the run itself.
fn unit(run: usize, compared: &Compared, cell: &Cell) -> String {
    let Compared { plan, info, .. } = compared;
    let subject = plan.subject(cell);
    let photos = info.references.get(&subject.name);
    let Some(photos) = photos.filter(|_| !info.judges.is_empty()) else {
        return format!("{} (run {})", cell.seed, run + 1);
    };
    let drawn = (
        plan.prompts(cell, Purpose::Test),
        plan.judge_texts(cell, Purpose::Test),
        plan.reward_texts(cell, Purpose::Test),
        plan.each(cell, Purpose::Test),
    );
    let text = format!("{photos}|{}|{}|{drawn:?}", info.judges, info.size);
    format!(
        "{} #{}",
        cell.seed,
        &blake3::hash(text.as_bytes()).to_hex()[..8]
    )
}

/// On how many subjects rows of different runs are paired; `None` if fewer than two runs have results.
fn paired(table: &Table, runs: &[Compared]) -> Option<String> {
    let units = |run: &Compared| -> BTreeSet<(&str, &str)> {
        let prefix = row_name(&run.name, "");
        let own = table.subjects.iter();
        own.filter(|value| table.rows[value.row].name.starts_with(&prefix))
            .map(|value| (value.subject.as_str(), value.pair.as_str()))
            .collect()
    };
    let with_results: Vec<_> = runs
        .iter()
        .map(|run| (&run.name, units(run)))
        .filter(|(_, units)| !units.is_empty())
        .collect();
    let ((first, own), others) = with_results.split_first()?;
    let said: Vec<String> = others
        .iter()
        .map(|(name, units)| {
            let common: BTreeSet<&str> = own.intersection(units).map(|unit| unit.0).collect();
            match common.len() {
                0 => format!("{first} and {name} on none"),
                1 => format!("{first} and {name} on 1 subject"),
                n => format!("{first} and {name} on {n} subjects"),
            }
        })
        .collect();
    (!said.is_empty()).then(|| {
        format!(
            "rows of different runs are paired on subjects and seeds with equal photos, prompts, noise, size and judges: {}",
            said.join("; ")
        )
    })
}
