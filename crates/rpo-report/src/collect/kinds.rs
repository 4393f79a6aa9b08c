//! The test table by kind of prompt: scenes, properties, accessories, … apart.

use super::rows::{Columns, Row};
use crate::page::data::KindValues;
use rpo_experiment::plan::{Plan, Purpose};
use std::collections::BTreeMap;

/// Sums over pictures by column, and how many pictures.
type Sums = (Vec<f64>, usize);

/// The means of each kind, in the order of the first prompts; empty for a run whose prompts have no kinds. As in the whole table,
/// pictures are averaged within a subject first, over its prompts of the kind and its seeds; subjects without any do not count.
pub(super) fn kinds(plan: &Plan, rows: &[Row], columns: &Columns) -> Vec<KindValues> {
    let mut found: Vec<KindValues> = Vec::new();
    for cell in &plan.cells {
        let of_cell = plan.kinds(cell, Purpose::Test);
        for kind in of_cell.iter().flatten() {
            if !found.iter().any(|k| k.kind == *kind) {
                found.push(KindValues {
                    kind: (*kind).to_owned(),
                    ..KindValues::default()
                });
            }
        }
        for k in &mut found {
            let own = of_cell.iter().flatten().filter(|kind| **kind == k.kind);
            k.prompts = k.prompts.max(own.count());
        }
    }
    for row in rows {
        let sums = sums(plan, row, columns);
        for k in &mut found {
            k.means.push(match sums.get(k.kind.as_str()) {
                Some(of) => over_subjects(of, columns.all.len()),
                None => vec![None; columns.all.len()],
            });
        }
    }
    found
}

/// By kind and subject.
fn sums<'a>(
    plan: &'a Plan,
    row: &Row,
    columns: &Columns,
) -> BTreeMap<&'a str, BTreeMap<usize, Sums>> {
    let mut sums: BTreeMap<&str, BTreeMap<usize, Sums>> = BTreeMap::new();
    for (cell, result) in &row.results {
        let kinds = plan.kinds(cell, Purpose::Test);
        for picture in &result.pictures {
            let Some(kind) = kinds.get(picture.prompt).copied().flatten() else {
                continue;
            };
            let of_subject = sums.entry(kind).or_default().entry(cell.subject);
            let (sum, count) = of_subject.or_insert_with(|| (vec![0.0; columns.all.len()], 0));
            for (sum, value) in sum.iter_mut().zip(columns.values(result, picture)) {
                *sum += value;
            }
            *count += 1;
        }
    }
    sums
}

/// The mean over subjects of each column.
fn over_subjects(of: &BTreeMap<usize, Sums>, columns: usize) -> Vec<Option<f64>> {
    let mean = |column: usize| {
        let subjects = of.values().map(|(sum, count)| sum[column] / *count as f64);
        let mean = subjects.sum::<f64>() / of.len() as f64;
        mean.is_finite().then_some(mean)
    };
    (0..columns).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rpo_experiment::plan::Cell;
    use rpo_experiment::run::{PictureResult, StepResult};
    use rpo_reward::{Candidate, Score};
    use rpo_stats::Column;

    fn plan(subjects: &str, prompts: &str) -> Plan {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("test.jsonl"), prompts).unwrap();
        let text = format!(
            "seeds = [0, 1]\n[subjects]\nnames = {subjects}\n[prompts]\ntest = \"test.jsonl\"\n[test]\npictures_per_prompt = 1\n"
        );
        std::fs::write(at("x.toml"), text).unwrap();
        let (experiment, layers) = rpo_experiment::read(&at("x.toml"), &[], &[]).unwrap();
        Plan::of(experiment, &layers).unwrap()
    }

    /// One picture for each prompt, whose value is `value(subject, seed, prompt)`.
    fn result(plan: &Plan, cell: &Cell, value: &dyn Fn(usize, u64, usize) -> f64) -> StepResult {
        let prompts = plan.prompts(cell, Purpose::Test);
        let picture = |prompt| PictureResult {
            prompt,
            picture: 0,
            values: vec![value(cell.subject, cell.seed, prompt)],
            score: Score {
                image: 0.5,
                text: 0.5,
            },
        };
        StepResult {
            candidate: Candidate::BASE,
            pictures: (0..prompts.len()).map(picture).collect(),
            prompts,
            columns: vec![Column {
                name: "CLIP-T".into(),
                computed_by: "x".into(),
                explanation: String::new(),
                higher_is_better: Some(true),
            }],
        }
    }

    fn of(plan: &Plan, value: &dyn Fn(usize, u64, usize) -> f64) -> Vec<KindValues> {
        let results: Vec<StepResult> = plan.cells.iter().map(|c| result(plan, c, value)).collect();
        let rows = [Row {
            name: "step 0".into(),
            arm: 0,
            rule: None,
            results: plan.cells.iter().zip(&results).collect(),
        }];
        let columns = Columns::of(plan, &rows);
        kinds(plan, &rows, &columns)
    }

    #[test]
    fn subjects_count_alike_within_a_kind() {
        // A dog has two prompts of a view, a car one.
        let prompts = "{\"prompt\": \"a {} from above\", \"kind\": \"view\"}\n{\"prompt\": \"a {} asleep\", \"kind\": \"view\", \"live\": true}\n{\"prompt\": \"a {} in oil\", \"kind\": \"style\"}\n{\"prompt\": \"a wet {}\"}\n";
        let plan = plan("[\"dog\", \"car\"]", prompts);
        let found = of(&plan, &|subject, seed, prompt| match (subject, prompt) {
            (0, 0) => 1.0,
            (0, 1) => 2.0 + seed as f64,
            (1, 0) => 4.0,
            (0, 2) | (1, 1) => 7.0,
            _ => 100.0,
        });
        let all: Vec<(&str, usize, Option<f64>)> = found
            .iter()
            .map(|k| (k.kind.as_str(), k.prompts, k.means[0][0]))
            .collect();
        let dog = (1.0 + 2.0 + 1.0 + 3.0) / 4.0;
        assert_eq!(
            all,
            [
                ("view", 2, Some((dog + 4.0) / 2.0)),
                ("style", 1, Some(7.0))
            ]
        );
        assert!(found.iter().all(|k| k.means[0].len() > 1));
        let odd = of(&plan, &|_, _, _| f64::NAN);
        assert_eq!(odd[0].means[0][0], None);
    }

    #[test]
    fn prompts_without_kinds_have_no_such_table() {
        let plan = plan("[\"dog\"]", "{\"prompt\": \"a {} in oil\"}\n");
        assert!(of(&plan, &|_, _, _| 1.0).is_empty());
    }
}
