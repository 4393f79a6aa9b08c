//! Gathers the report's data from a run folder.

use super::finished::Finished;
use super::rows::{Columns, Row};
use super::thumbnails::Thumbnails;
use crate::page::data::{
    self, Encoder, PictureScore, ReportData, RowKind, RuleOutcome, Sample, SampleRow,
    Setup as SetupData, SubjectValues, TestRow, TestTable, TrainingPoint, Trajectory,
};
use crate::table::Table;
use anyhow::Result;
use rpo_experiment::plan::{Cell, Plan, Purpose};
use rpo_experiment::run::{Record, Run, RunInfo, choices};
use rpo_reward::mean_reward;
use rpo_reward::select::{Kind, Rule, gain_over_first};
use rpo_stats::Interval;

/// Pictures of a validation that the strip shows.
const STRIP: usize = 3;
/// Test prompts of a subject whose pictures are shown.
const SAMPLE_PROMPTS: usize = 6;
/// Points of a loss curve.
const CURVE: usize = 120;

/// The whole report.
pub(super) fn data(
    plan: &Plan,
    info: &RunInfo,
    run: &Run,
    finished: &Finished,
    tested: Option<&(Vec<Row>, Columns, Table)>,
) -> Result<ReportData> {
    let e = &plan.experiment;
    let times = run.times(&plan.cells);
    let samples_each = SAMPLE_PROMPTS * (plan.rules.len() + 1);
    let thumbnails = Thumbnails::of(plan, run, finished, STRIP, samples_each);
    let trajectories: Vec<Trajectory> = finished
        .cells
        .iter()
        .map(|c| trajectory(plan, run, &thumbnails, c))
        .collect::<Result<_>>()?;
    Ok(ReportData {
        title: e.name.replace('_', " "),
        name: e.name.clone(),
        description: e.reproduces.clone(),
        created: ended(plan, run),
        version: env!("CARGO_PKG_VERSION").into(),
        setup: setup_data(plan, info),
        times: data::Times {
            total: times.total,
            negatives: times.negatives,
            training: times.training,
            validation: times.validation,
            test: times.test,
        },
        rules: plan.rules.iter().map(rule).collect(),
        trajectories,
        test: tested.map(|(rows, columns, table)| test_table(plan, rows, columns, table)),
        samples: match tested {
            Some((rows, ..)) => samples(plan, run, &thumbnails, &finished.compared, rows)?,
            None => Vec::new(),
        },
        settings: toml::to_string_pretty(e)?,
        // Rows say themselves which checkpoints they share.
        notes: tested
            .into_iter()
            .flat_map(|(.., table)| &table.notes)
            .filter(|n| !n.contains("same checkpoint"))
            .cloned()
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

fn setup_data(plan: &Plan, info: &RunInfo) -> SetupData {
    let e = &plan.experiment;
    let encoder = |role: &str, name: &str, stands_for: &str| Encoder {
        role: role.into(),
        name: name.into(),
        stands_for: stands_for.into(),
    };
    let first = &plan.cells[0];
    SetupData {
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
        device: info.machine.clone(),
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

fn rule(rule: &Rule) -> data::Rule {
    data::Rule {
        id: rule.name.clone(),
        label: rule.name.clone(),
        kind: rule.kind,
        mean: rule.mean,
        lambda: rule.lambda.get(),
        patience: rule.patience,
    }
}

fn trajectory(plan: &Plan, run: &Run, thumbnails: &Thumbnails, cell: &Cell) -> Result<Trajectory> {
    let folder = run.trajectory(cell);
    let (arm, subject) = (&plan.arms[cell.arm], &plan.subjects[cell.subject]);
    let chosen = choices(&plan.rules, &folder)?;
    let records = folder.records()?;
    let each = plan.experiment.validation.pictures_per_prompt;
    let prompts = plan.prompts(cell, Purpose::Validation);
    let strip = if thumbnails.few { 0 } else { STRIP };
    let shown: Vec<usize> = spread(prompts.len(), strip);
    let validations = chosen
        .validations
        .iter()
        .map(|v| {
            let strip = shown
                .iter()
                .map(|p| {
                    thumbnails.read(
                        &folder
                            .samples("validation", v.step)
                            .join(format!("prompt-{p:02}-0.png")),
                    )
                })
                .collect::<Result<_>>()?;
            let pictures = v
                .scores
                .iter()
                .enumerate()
                .map(|(i, s)| PictureScore {
                    prompt: i / each,
                    image: s.image,
                    text: s.text,
                })
                .collect();
            Ok(data::Validation {
                step: v.step,
                pictures,
                strip,
            })
        })
        .collect::<Result<_>>()?;
    let outcomes = plan
        .rules
        .iter()
        .zip(&chosen.decisions)
        .map(|(rule, d)| {
            let best = rule.kind == Kind::Best;
            let gain = gain_over_first(rule, &chosen.validations, d.chosen)?;
            let reward = |i: usize| {
                best.then(|| mean_reward(&chosen.validations[i].scores, rule.mean, rule.lambda))
            };
            Ok(RuleOutcome {
                rule: rule.name.clone(),
                chosen_step: chosen.steps[d.chosen],
                stopped_at_step: d.stopped_at.map(|i| chosen.steps[i]),
                reason: d.reason.clone(),
                reward_chosen: reward(d.chosen),
                reward_step0: reward(0),
                difference_interval: if best { ends(&gain) } else { None },
            })
        })
        .collect::<Result<_>>()?;
    Ok(Trajectory {
        id: cell.id.clone(),
        subject: subject.name.clone(),
        class: subject.class.clone(),
        arm: if plan.arms.len() > 1 {
            arm.name.clone()
        } else {
            String::new()
        },
        seed: cell.seed,
        photos: subject.photos,
        references: thumbnails.folder(&folder.0.join("references"), 1)?,
        negatives: thumbnails.folder(&folder.0.join("negatives"), 0)?,
        strip_prompts: shown.iter().map(|p| prompts[*p].clone()).collect(),
        validation_prompts: prompts,
        validations,
        training: curve(&records),
        kept_steps: folder.kept_steps(),
        stopped_step: chosen.steps.last().copied().unwrap_or(0),
        outcomes,
    })
}

/// Losses, averaged over equal stretches of steps.
fn curve(records: &[Record]) -> Vec<TrainingPoint> {
    let points: Vec<TrainingPoint> = records
        .iter()
        .filter_map(|r| match r {
            Record::Step {
                step,
                terms,
                loss,
                grad_norm,
            } => Some(TrainingPoint {
                step: *step,
                terms: terms.clone(),
                loss: *loss,
                grad_norm: *grad_norm,
            }),
            Record::Validation { .. } => None,
        })
        .collect();
    points
        .chunks(points.len().div_ceil(CURVE).max(1))
        .map(|chunk| {
            let mean = |f: &dyn Fn(&TrainingPoint) -> f64| {
                chunk.iter().map(f).sum::<f64>() / chunk.len() as f64
            };
            let names = chunk[0].terms.keys();
            let terms = names.map(|name| {
                let of = |p: &TrainingPoint| p.terms.get(name).copied().unwrap_or(0.0);
                (name.clone(), mean(&of))
            });
            TrainingPoint {
                step: chunk[chunk.len() - 1].step,
                terms: terms.collect(),
                loss: mean(&|p| p.loss),
                grad_norm: mean(&|p| p.grad_norm),
            }
        })
        .collect()
}

fn test_table(plan: &Plan, rows: &[Row], columns: &Columns, table: &Table) -> TestTable {
    let metrics = columns
        .all
        .iter()
        .map(|c| data::Metric {
            label: c.name.clone(),
            encoder: c.computed_by.clone(),
            explanation: c.explanation.clone(),
            higher_is_better: c.higher_is_better,
        })
        .collect();
    let table_rows = rows
        .iter()
        .zip(&table.rows)
        .map(|(row, computed)| {
            let rule = row.rule.map(|i| &plan.rules[i]);
            let cells = computed
                .cells
                .iter()
                .map(|c| data::Cell {
                    mean: Some(c.mean.mean),
                    interval: ends(&c.mean),
                    std: c.paper_std,
                    differences: c
                        .comparisons
                        .iter()
                        .map(|d| data::Difference {
                            against: d.against.clone(),
                            mean: d.difference.mean,
                            interval: ends(&d.difference),
                            p_holm: d.p_holm,
                        })
                        .collect(),
                })
                .collect();
            let same: Vec<String> = computed.cells[0]
                .comparisons
                .iter()
                .filter_map(|c| {
                    c.same_checkpoint.filter(|s| s.same > 0).map(|s| {
                        format!("same checkpoint as {} in {} of {}", c.against, s.same, s.of)
                    })
                })
                .collect();
            TestRow {
                id: row.name.clone(),
                label: row.name.clone(),
                arm: if plan.arms.len() > 1 {
                    plan.arms[row.arm].name.clone()
                } else {
                    String::new()
                },
                rule: rule.map(|r| r.name.clone()),
                kind: match rule.map(|r| r.kind) {
                    None => RowKind::Base,
                    Some(Kind::Best) => RowKind::Chosen,
                    Some(Kind::Last) => RowKind::Last,
                },
                cells,
                subjects: subject_values(plan, columns, row),
                median_step: median(row.results.iter().map(|(_, r)| r.step).collect()),
                same_checkpoint: (!same.is_empty()).then(|| same.join("; ")),
            }
        })
        .collect();
    TestTable {
        metrics,
        primary: columns.primary(),
        rows: table_rows,
        statistics: "Figures are averaged within a subject first; the unit is the subject. Intervals are Student t at 95 % over per-subject values or paired differences; p is corrected over the rows by Holm.".into(),
    }
}

fn subject_values(plan: &Plan, columns: &Columns, row: &Row) -> Vec<SubjectValues> {
    let several_seeds = plan.experiment.seeds.len() > 1;
    row.results
        .iter()
        .map(|(cell, result)| {
            let name = &plan.subjects[cell.subject].name;
            let n = result.pictures.len() as f64;
            let mut values = vec![0.0; columns.all.len()];
            for p in &result.pictures {
                for (sum, v) in values.iter_mut().zip(columns.values(result, p)) {
                    *sum += v / n;
                }
            }
            SubjectValues {
                subject: if several_seeds {
                    format!("{name} (seed {})", cell.seed)
                } else {
                    name.clone()
                },
                step: Some(result.step),
                values: values
                    .into_iter()
                    .map(|v| v.is_finite().then_some(v))
                    .collect(),
            }
        })
        .collect()
}

/// Some test prompts of every trajectory, one picture a row of the table.
fn samples(
    plan: &Plan,
    run: &Run,
    thumbnails: &Thumbnails,
    cells: &[&Cell],
    rows: &[Row],
) -> Result<Vec<SampleRow>> {
    let prompts = if thumbnails.few { 1 } else { SAMPLE_PROMPTS };
    let mut all = Vec::new();
    for cell in cells {
        let folder = run.trajectory(cell);
        let of_cell: Vec<_> = rows
            .iter()
            .filter(|r| r.rule.is_none() || r.arm == cell.arm)
            .filter_map(|r| {
                let same = |c: &Cell| c.subject == cell.subject && c.seed == cell.seed;
                r.results
                    .iter()
                    .find(|(c, _)| same(c))
                    .map(|(_, result)| (r, result))
            })
            .collect();
        let Some((_, first)) = of_cell.first() else {
            continue;
        };
        // Where there is room for a few: the base model, the first rule of the arm and what one gets without a rule.
        let last = |r: &Row| r.rule.is_some_and(|i| plan.rules[i].kind == Kind::Last);
        let shown = |r: &Row| !thumbnails.few || matches!(r.rule, None | Some(0)) || last(r);
        for prompt in spread(first.prompts.len(), prompts) {
            let pictures = of_cell
                .iter()
                .filter(|(row, _)| shown(row))
                .map(|(row, result)| {
                    let file = folder
                        .samples("test", result.step)
                        .join(format!("prompt-{prompt:02}-0.png"));
                    Ok(Sample {
                        label: row.name.clone(),
                        step: result.step,
                        picture: thumbnails.read(&file)?,
                    })
                })
                .collect::<Result<_>>()?;
            all.push(SampleRow {
                trajectory: cell.id.clone(),
                prompt: first.prompts[prompt].clone(),
                pictures,
            });
        }
    }
    Ok(all)
}

/// `count` places spread over `0..n`.
fn spread(n: usize, count: usize) -> Vec<usize> {
    let count = count.min(n);
    (0..count).map(|i| i * n / count).collect()
}

fn ends(interval: &Interval) -> Option<[f64; 2]> {
    interval.interval.map(|(low, high)| [low, high])
}

fn median(mut steps: Vec<usize>) -> Option<f64> {
    steps.sort_unstable();
    let n = steps.len();
    (n > 0).then(|| (steps[(n - 1) / 2] + steps[n / 2]) as f64 / 2.0)
}

/// When the last trajectory was written, in UTC.
fn ended(plan: &Plan, run: &Run) -> String {
    let written = |cell: &Cell| {
        let about = std::fs::metadata(run.trajectory(cell).times_path());
        about.and_then(|m| m.modified()).ok()
    };
    let time = plan.cells.iter().filter_map(written).max();
    let seconds = time
        .and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok())
        .map_or(0, |d| d.as_secs());
    let (y, m, d) = civil(seconds / 86400);
    format!(
        "{y}-{m:02}-{d:02} {:02}:{:02} UTC",
        seconds / 3600 % 24,
        seconds / 60 % 60
    )
}

/// Days since 1970 as year, month, day (Howard Hinnant's `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (
        yoe + era * 400 + u64::from(month <= 2),
        month,
        doy - (153 * mp + 2) / 5 + 1,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(19_782), (2024, 2, 29));
    }

    #[test]
    fn places_are_spread() {
        assert_eq!(spread(8, 3), [0, 2, 5]);
        assert_eq!(spread(2, 3), [0, 1]);
    }
}
