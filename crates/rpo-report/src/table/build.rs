//! Makes a [`Table`]: averages by subject, compares rows, corrects p-values.

use super::{Arm, Beside, Cell, Metric, Row, SubjectValue, Table, one_model};
use anyhow::{Context, Result, bail};
use rand::RngCore;
use rpo_data::random;
use rpo_stats::{Comparison, Interval, SameCheckpoint, Units, by_subject, holm, paper_std, units};
use std::collections::{BTreeMap, BTreeSet};

/// Up to this many rows each is compared with each; above, only with the baselines.
pub const MOST_PAIRED: usize = 24;

/// What rows are compared with.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Names of the rows that text, CSV and LaTeX compare with; the first is the baseline.
    pub baselines: Vec<String>,
    /// Half-width of the equivalence tests.
    pub margin: f64,
}

impl Table {
    /// Averages by subject, compares rows on the subjects and seeds that both have, and corrects the p-values of each metric and
    /// baseline over the rows compared with it (Holm). Rows with the baseline's checkpoints everywhere are not tested: they have
    /// p = 1 and are excluded from the correction.
    ///
    /// # Errors
    /// Rows without samples, two rows with the same name, a baseline that is no row.
    pub fn build(
        title: impl Into<String>,
        metrics: Vec<Metric>,
        arms: &[Arm],
        settings: &Settings,
    ) -> Result<Self> {
        check(&metrics, arms, settings)?;
        let mut rows: Vec<Row> = arms
            .iter()
            .map(|arm| Row {
                name: arm.name.clone(),
                arm: arm.arm.clone(),
                rule: arm.rule.clone(),
                cells: Vec::with_capacity(metrics.len()),
            })
            .collect();
        let mut all_units = Vec::with_capacity(metrics.len());
        for (index, metric) in metrics.iter().enumerate() {
            let column = Column {
                index,
                metric,
                arms,
                settings,
            };
            let (units, cells) = column
                .cells()
                .with_context(|| format!("metric {}", metric.name))?;
            for (row, cell) in rows.iter_mut().zip(cells) {
                row.cells.push(cell);
            }
            all_units.push(units);
        }
        let mut table = Self {
            title: title.into(),
            metrics,
            rows,
            baselines: settings.baselines.clone(),
            margin: settings.margin,
            subjects: subjects(arms, &all_units),
            kinds: Vec::new(),
            beside: Beside::default(),
            notes: Vec::new(),
            shared: Vec::new(),
        };
        table.notes.extend(table.of_one_subject());
        if table.rows.len() > MOST_PAIRED {
            table.notes.push(format!(
                "of {} rows each is compared with the baseline only; up to {MOST_PAIRED} each is compared with each",
                table.rows.len()
            ));
        }
        let (contradictions, shared) = table.same_checkpoints();
        table.notes.extend(contradictions);
        table.shared = shared;
        Ok(table)
    }

    fn of_one_subject(&self) -> Option<String> {
        let cells = self.rows.iter().flat_map(|row| &row.cells);
        let subjects = cells.map(|cell| cell.mean.n).min().unwrap_or(0);
        (subjects == 1).then(|| "one subject: no interval and no test is possible".to_owned())
    }

    /// Rows with the same checkpoints but different values; and the other rows that share checkpoints.
    fn same_checkpoints(&self) -> (Vec<String>, Vec<String>) {
        let (mut contradictions, mut shared) = (Vec::new(), Vec::new());
        for (i, row) in self.rows.iter().enumerate() {
            for comparison in row.cells.first().iter().flat_map(|cell| &cell.comparisons) {
                let other = &comparison.against;
                // Each pair once.
                let earlier = self.rows[..i].iter().any(|row| row.name == *other);
                let listed = self.baselines.contains(other) && !self.baselines.contains(&row.name);
                if !earlier && !listed {
                    continue;
                }
                let Some(same) = comparison.same_checkpoint.filter(|same| same.same > 0) else {
                    continue;
                };
                // Of partly equal choices only those shared with a baseline are worth a line.
                let based = listed || self.baselines.contains(other);
                if !same.everywhere() && !based {
                    continue;
                }
                let pair = format!("{} and {other}: {same}", row.name);
                match (same.everywhere(), one_model(comparison)) {
                    (true, false) => contradictions.push(format!(
                        "{pair}, yet the figures differ: the noise or the checkpoints' names are not what they should be"
                    )),
                    (true, true) => shared.push(format!("{pair}, so p = 1")),
                    (false, _) => shared.push(pair),
                }
            }
        }
        let unique = |list: Vec<String>| -> Vec<String> {
            let set: BTreeSet<String> = list.into_iter().collect();
            set.into_iter().collect()
        };
        (unique(contradictions), unique(shared))
    }
}

fn check(metrics: &[Metric], arms: &[Arm], settings: &Settings) -> Result<()> {
    for (i, arm) in arms.iter().enumerate() {
        if arms[..i].iter().any(|other| other.name == arm.name) {
            bail!(
                "two rows are named `{}`: give one of their arms another name",
                arm.name
            );
        }
        if arm.samples.len() != metrics.len() {
            bail!(
                "row `{}` has samples of {} metrics, the table has {}",
                arm.name,
                arm.samples.len(),
                metrics.len()
            );
        }
    }
    let missing = |name: &&String| arms.iter().all(|arm| arm.name != **name);
    if let Some(name) = settings.baselines.iter().find(missing) {
        bail!("the baseline `{name}` is not among the rows");
    }
    Ok(())
}

/// The values of each subject and seed of each row, in the order of the rows.
fn subjects(arms: &[Arm], columns: &[Vec<Units>]) -> Vec<SubjectValue> {
    let mut all = Vec::new();
    for (row, arm) in arms.iter().enumerate() {
        let keys: BTreeSet<&(String, String)> =
            columns.iter().flat_map(|units| units[row].keys()).collect();
        for key in keys {
            let chosen = arm.chosen.get(&format!("{}/{}", key.0, key.1));
            all.push(SubjectValue {
                row,
                subject: key.0.clone(),
                pair: key.1.clone(),
                checkpoint: chosen.cloned().unwrap_or_default(),
                values: columns
                    .iter()
                    .map(|units| units[row].get(key).copied())
                    .collect(),
            });
        }
    }
    all
}

/// One metric of all rows.
struct Column<'a> {
    index: usize,
    metric: &'a Metric,
    arms: &'a [Arm],
    settings: &'a Settings,
}

impl Column<'_> {
    fn cells(&self) -> Result<(Vec<Units>, Vec<Cell>)> {
        let mut of_units = Vec::with_capacity(self.arms.len());
        let mut cells = Vec::with_capacity(self.arms.len());
        for arm in self.arms {
            let samples = &arm.samples[self.index];
            let named = || format!("row `{}`", arm.name);
            let means: BTreeMap<String, f64> = by_subject(samples).with_context(named)?;
            let values: Vec<f64> = means.into_values().collect();
            cells.push(Cell {
                mean: Interval::of(&values).with_context(named)?,
                paper_std: paper_std(samples)?,
                comparisons: Vec::new(),
            });
            of_units.push(units(samples)?);
        }
        let all = self.arms.len() <= MOST_PAIRED;
        for base in 0..self.arms.len() {
            if all || self.settings.baselines.contains(&self.arms[base].name) {
                self.compare_with(base, &of_units, &mut cells)?;
            }
        }
        Ok((of_units, cells))
    }

    /// Every other row against row `base`.
    fn compare_with(&self, base: usize, of_units: &[Units], cells: &mut [Cell]) -> Result<()> {
        let baseline = &self.arms[base];
        let mut compared: Vec<(usize, Comparison)> = Vec::with_capacity(self.arms.len());
        for (i, arm) in self.arms.iter().enumerate().filter(|(i, _)| *i != base) {
            // The same signs whichever of the two is the baseline.
            let (low, high) = (i.min(base), i.max(base));
            let names = [&self.arms[low].name, &self.arms[high].name].map(String::as_str);
            let mut stream = random::stream(0, "permutation", &names);
            let found = Comparison::of(
                &of_units[i],
                (&baseline.name, &of_units[base]),
                self.metric.higher_is_better,
                self.settings.margin,
                || stream.next_u64(),
            )?;
            if let Some(mut comparison) = found {
                comparison.same_checkpoint = SameCheckpoint::count(&arm.chosen, &baseline.chosen);
                compared.push((i, comparison));
            }
        }
        let family = |p: fn(&Comparison) -> Option<f64>| {
            let tested = compared.iter().map(|(_, c)| p(c).filter(|_| !one_model(c)));
            holm(&tested.collect::<Vec<_>>())
        };
        let student = family(|c| c.difference.p);
        let permutation = family(|c| c.p_permutation);
        for ((i, mut comparison), (p_holm, p_permutation_holm)) in compared
            .into_iter()
            .zip(student.into_iter().zip(permutation))
        {
            comparison.p_holm = p_holm;
            comparison.p_permutation_holm = p_permutation_holm;
            if one_model(&comparison) {
                for p in [
                    &mut comparison.difference.p,
                    &mut comparison.p_holm,
                    &mut comparison.p_permutation,
                    &mut comparison.p_permutation_holm,
                ] {
                    *p = Some(1.0);
                }
            }
            cells[i].comparisons.push(comparison);
        }
        Ok(())
    }
}
