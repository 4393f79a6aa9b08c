//! Which cell a worker runs: its argument, or what an engine of arrays tells it.

use anyhow::Result;
use clap::Args;
use rpo_files::failure::BadInput;

/// The variables that engines number the parts of an array with: HyperQueue, Slurm, Kubernetes' indexed jobs. The first one counts:
/// a worker of HyperQueue may be an element of Slurm's and pass its variables on.
const VARIABLES: [&str; 3] = ["HQ_TASK_ID", "SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX"];

#[derive(Args)]
pub(super) struct WhichCell {
    /// Index of the cell in plan.json, from 0; without it HQ_TASK_ID, SLURM_ARRAY_TASK_ID or JOB_COMPLETION_INDEX
    #[arg(long)]
    index: Option<usize>,
    /// Added to the index of an engine, whose arrays may be shorter than the run
    #[arg(long, default_value_t = 0, conflicts_with = "index")]
    offset: usize,
}

impl WhichCell {
    /// The index, and how it was given.
    ///
    /// # Errors
    /// [`BadInput`] if nothing tells it, or a variable is no number.
    pub(super) fn index(
        &self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<(usize, Given)> {
        if let Some(index) = self.index {
            return Ok((index, Given::Argument));
        }
        let set = |name: &'static str| Some((name, variable(name)?));
        let Some((name, value)) = VARIABLES.into_iter().find_map(set) else {
            return Err(BadInput::new(format!(
                "--index is missing, and none of {} is set\n  hint: --index 0 runs the first cell",
                VARIABLES.join(", ")
            )));
        };
        let index = value.trim().parse::<usize>().ok();
        let index = index.and_then(|n| n.checked_add(self.offset));
        index.map(|n| (n, Given::Engine)).ok_or_else(|| {
            BadInput::new(format!(
                "{name}={value:?} is no index\n  hint: a number from 0, or --index"
            ))
        })
    }
}

/// Who told the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// The command line.
    Argument,
    /// An engine's variable.
    Engine,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_argument_precedes_what_engines_say() {
        let of = |index, offset, set: &[(&str, &str)]| {
            let which = WhichCell { index, offset };
            let own = |name: &str| set.iter().find(|s| s.0 == name).map(|s| s.1.to_owned());
            which.index(own).map_err(|e| e.to_string())
        };
        let slurm = ("SLURM_ARRAY_TASK_ID", "7");
        assert_eq!(of(Some(3), 0, &[slurm]), Ok((3, Given::Argument)));
        assert_eq!(of(None, 0, &[slurm]), Ok((7, Given::Engine)));
        assert_eq!(of(None, 1000, &[slurm]), Ok((1007, Given::Engine)));
        for name in ["JOB_COMPLETION_INDEX", "HQ_TASK_ID"] {
            assert_eq!(of(None, 0, &[(name, "0")]), Ok((0, Given::Engine)));
        }
        let task = ("HQ_TASK_ID", "4");
        assert_eq!(of(None, 0, &[slurm, task]), Ok((4, Given::Engine)));
        assert!(of(None, 0, &[]).unwrap_err().contains("--index is missing"));
        for wrong in ["", "-1", "4294967294x"] {
            let said = of(None, 0, &[("SLURM_ARRAY_TASK_ID", wrong)]).unwrap_err();
            assert!(said.contains("SLURM_ARRAY_TASK_ID"), "{said}");
        }
        assert!(of(None, usize::MAX, &[slurm]).is_err());
    }
}
