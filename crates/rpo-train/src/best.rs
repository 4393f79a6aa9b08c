//! `best/` of a run: links to what the first rule chose, under names made of subject and run, and the words that tell of it.

use crate::runner::checkpoint;
use crate::runner::trainable;
use crate::shell::word;
use anyhow::Result;
use rpo_experiment::plan::{Cell, Plan, folder_name};
use rpo_experiment::run::{Run, Tested};
use rpo_reward::Candidate;
use rpo_reward::select::Kind;
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};

/// Name of the folder in a run.
pub const FOLDER: &str = "best";

/// What the first rule chose in a finished cell.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Best {
    /// The cell.
    pub cell: String,
    /// Its subject.
    pub subject: String,
    /// The rule.
    pub rule: String,
    /// The chosen checkpoint; step 0 is the base model.
    #[serde(flatten)]
    pub candidate: Candidate,
    /// The most steps of its arm.
    pub steps: usize,
    /// Mean reward of the rule on the validation pictures, there and at step 0; `None` for the rule of the last step.
    pub reward: Option<[f64; 2]>,
    /// The file for other programs, or the U-Net's folder; `None` for the base model.
    pub weights: Option<PathBuf>,
    /// Folder of its test pictures.
    pub pictures: PathBuf,
}

/// Looks what was chosen in every finished cell and links it. Earlier links of `best/` are replaced; anything else there stays. Where
/// links cannot be made, the paths are those of the files themselves.
///
/// # Errors
/// Those of reading what was chosen.
pub fn link(plan: &Plan, run: &Run) -> Result<Vec<Best>> {
    let mut all = Vec::new();
    let place = run.path.join(FOLDER);
    for cell in &plan.cells {
        // A damaged record is told by the report.
        let Ok(Some(tested)) = run.tested(plan, cell) else {
            continue;
        };
        let name = name(plan, cell);
        let found = best(plan, run, cell, &tested)?;
        let target = |path: &Path| -> PathBuf {
            let within = path.strip_prefix(&run.path).unwrap_or(path);
            Path::new("..").join(within)
        };
        let trainable = trainable::of(plan.arm(cell));
        let ending = match trainable.file(&name) {
            Some(_) => ".safetensors".to_owned(),
            None => format!("-{}", trainable.folder()),
        };
        let links = [
            (format!("{name}{ending}"), found.weights.as_deref()),
            (format!("{name}-test"), Some(found.pictures.as_path())),
        ];
        let mut linked = found.clone();
        for (i, (name, path)) in links.into_iter().enumerate() {
            let link = place.join(name);
            let made = replace(&link, path.map(target).as_deref());
            match (made, i) {
                (false, _) => {}
                (true, 0) => linked.weights = Some(link),
                (true, _) => linked.pictures = link,
            }
        }
        all.push(linked);
    }
    Ok(all)
}

/// A name that tells users, subjects and runs apart: the subject's and the run's, and of what there are several.
fn name(plan: &Plan, cell: &Cell) -> String {
    let e = &plan.experiment;
    let mut name = format!("{}-{}", plan.subject(cell).name, e.name);
    if plan.arms.len() > 1 {
        name += &format!("-{}", plan.arm(cell).name);
    }
    if e.seeds.len() > 1 {
        name += &format!("-seed-{}", cell.seed);
    }
    folder_name(&name)
}

fn best(plan: &Plan, run: &Run, cell: &Cell, tested: &Tested) -> Result<Best> {
    let (arm, folder) = (plan.arm(cell), run.trajectory(cell));
    let choices = &tested.choices;
    let (rule, decision) = (&plan.rules[0], &choices.decisions[0]);
    let candidate = choices.chosen(0);
    let reward = |at: usize| {
        let all = choices.validations[at].rewards(rule.mean, rule.lambda);
        all.iter().sum::<f64>() / all.len().max(1) as f64
    };
    let trainable = trainable::of(arm);
    let kept = folder.checkpoint(trainable.folder(), candidate);
    let weights =
        (candidate != Candidate::BASE).then(|| match trainable.file(&checkpoint::name(cell)) {
            Some(file) => kept.join(file),
            None => kept,
        });
    Ok(Best {
        cell: cell.id.clone(),
        subject: plan.subject(cell).name.clone(),
        rule: rule.name.clone(),
        candidate,
        steps: arm.training.steps,
        reward: (rule.kind == Kind::Best).then(|| [reward(decision.chosen), reward(0)]),
        weights: weights.filter(|path| path.exists()),
        pictures: folder.samples("test", candidate),
    })
}

/// Makes `link` lead to `target`, or to nothing. False where something else than a link is there, or links cannot be made: file
/// systems without links are used, too.
fn replace(link: &Path, target: Option<&Path>) -> bool {
    if let Ok(about) = fs::symlink_metadata(link) {
        if about.is_symlink() && target.is_some() && fs::read_link(link).ok().as_deref() == target {
            return true;
        }
        if !about.is_symlink() || fs::remove_file(link).is_err() {
            return false;
        }
    }
    let (Some(target), Some(folder)) = (target, link.parent()) else {
        return false;
    };
    let made = fs::create_dir_all(folder).and_then(|()| symlink(target, link));
    made.is_ok()
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(not(unix))]
fn symlink(_target: &Path, _link: &Path) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// Lines about what was chosen, and what may be done with it; of many cells a summary and where to look.
pub fn lines(run: &Run, all: &[Best]) -> Vec<String> {
    const SHOWN: usize = 2;
    let folder = run.path.display();
    let mut lines = Vec::new();
    if all.len() > SHOWN {
        let base = all
            .iter()
            .filter(|best| best.candidate == Candidate::BASE)
            .count();
        lines.push(format!(
            "chosen   in {} cells by {}, the base model in {base} of them; all are linked in {folder}/{FOLDER}",
            all.len(),
            all[0].rule
        ));
    } else {
        all.iter()
            .for_each(|best| lines.extend(told(best, all.len() > 1)));
    }
    if !all.is_empty() {
        lines.push(format!(
            "next     rpo-train generate {} -p \"a {{}} in the snow\" --sheet",
            word(&run.path)
        ));
    }
    lines
}

fn told(best: &Best, several: bool) -> Vec<String> {
    let whose = match several {
        false => String::new(),
        true => format!("{}: ", best.cell),
    };
    let mut lines = vec![match (best.candidate.step, best.reward) {
        (0, reward) => {
            let reward = reward.map_or(String::new(), |[_, first]| format!(", reward {first:.3}"));
            format!(
                "chosen   {whose}step 0, the base model: no checkpoint is better by {}{reward}",
                best.rule
            )
        }
        (_, reward) => {
            let reward = reward.map_or(String::new(), |[chosen, first]| {
                format!(", reward {chosen:.3} ({first:.3} at step 0)")
            });
            format!(
                "chosen   {whose}step {} of {} by {}{reward}",
                best.candidate, best.steps, best.rule
            )
        }
    }];
    lines.extend(
        best.weights
            .as_ref()
            .map(|path| format!("weights  {}", path.display())),
    );
    lines.push(format!("pictures {}", best.pictures.display()));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_replaced_and_files_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("dog-test");
        let [a, b] = ["a", "b"].map(Path::new);
        assert!(!replace(&link, None));
        assert!(replace(&link, Some(a)));
        assert!(replace(&link, Some(b)));
        assert_eq!(fs::read_link(&link).unwrap(), b);
        assert!(!replace(&link, None) && fs::symlink_metadata(&link).is_err());
        fs::write(&link, "mine").unwrap();
        assert!(!replace(&link, Some(a)));
        assert_eq!(fs::read_to_string(&link).unwrap(), "mine");
    }

    #[test]
    fn the_base_model_may_be_best() {
        let best = |step: &str| Best {
            cell: "ours/dog/seed-0".into(),
            subject: "dog".into(),
            rule: "harmonic-0.5".into(),
            candidate: step.parse().unwrap(),
            steps: 240,
            reward: Some([0.5, 0.25]),
            weights: None,
            pictures: "runs/x/best/dog-x-test".into(),
        };
        let run = Run {
            path: "runs/x".into(),
        };
        let said = lines(&run, &[best("0")]);
        assert_eq!(
            said[0],
            "chosen   step 0, the base model: no checkpoint is better by harmonic-0.5, reward 0.250"
        );
        let said = lines(&run, &[best("80"), best("0")]);
        assert!(
            said[0].ends_with(
                "ours/dog/seed-0: step 80 of 240 by harmonic-0.5, reward 0.500 (0.250 at step 0)"
            ),
            "{said:?}"
        );
        let many = lines(&run, &vec![best("0"); 6]);
        assert_eq!(many.len(), 2);
        assert_eq!(
            many[0],
            "chosen   in 6 cells by harmonic-0.5, the base model in 6 of them; all are linked in runs/x/best"
        );
        assert!(said.iter().all(|line| line.len() < 120));
        assert!(lines(&run, &[]).is_empty());
    }
}
