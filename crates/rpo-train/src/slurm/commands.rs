//! Slurm's commands: sbatch, squeue, scontrol.

use anyhow::{Result, anyhow};
use rpo_files::failure::BadInput;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

/// Slurm's default where `scontrol` cannot be asked.
const DEFAULT_MAX_ARRAY_SIZE: usize = 1001;

/// Slurm's limit of `MaxArraySize`.
const MOST_ELEMENTS: usize = 4_000_001;

/// An element of an array, queued or running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// Index of its cell.
    pub cell: usize,
    /// Its name: `17_4`.
    pub job: String,
    /// `PENDING`, `RUNNING`, …
    pub state: String,
}

/// Habits of a user that would replace lines of the scripts, send the jobs elsewhere, or keep sbatch waiting.
const NOT_HEEDED: [&str; 10] = [
    "SBATCH_ARRAY_INX",
    "SBATCH_CLUSTERS",
    "SBATCH_ERROR",
    "SBATCH_NO_REQUEUE",
    "SBATCH_OPEN_MODE",
    "SBATCH_OUTPUT",
    "SBATCH_REQUEUE",
    "SBATCH_SIGNAL",
    "SBATCH_WAIT",
    "SLURM_CLUSTERS",
];

/// The output of a command.
///
/// # Errors
/// [`BadInput`] if there is no such command, or Slurm refuses: with its words; another error if Slurm cannot be reached.
fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(program);
    // Whole lists of elements.
    command.args(arguments).env("SLURM_BITSTR_LEN", "0");
    // Those of squeue hide jobs.
    for (name, _) in std::env::vars_os() {
        let bytes = name.as_encoded_bytes();
        if bytes.starts_with(b"SQUEUE_") || NOT_HEEDED.iter().any(|n| name == **n) {
            command.env_remove(name);
        }
    }
    let output = command.output();
    let output = output.map_err(|e| match e.kind() {
        ErrorKind::NotFound => BadInput::new(format!(
            "{program}: there is no such command, so no Slurm here\n  hint: submit where jobs are submitted, look at the scripts with --dry-run, or use another engine (docs/cluster.md)"
        )),
        _ => anyhow!("{program}: {e}"),
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = format!("{program} {}: {}", arguments.join(" "), said.trim());
    let away = ["Unable to contact", "timed out", "Connection refused"];
    match away.iter().any(|words| said.contains(words)) {
        true => Err(anyhow!("{said}")),
        false => Err(BadInput::new(said)),
    }
}

/// How long arrays may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Every element's number is below it: `MaxArraySize`.
    pub size: usize,
    /// Elements of one array: `max_array_tasks` of `SchedulerParameters`, or the same.
    pub tasks: usize,
    /// Whether Slurm said so.
    pub known: bool,
}

/// The limits of this cluster, or Slurm's defaults.
pub fn limits() -> Limits {
    let said = output("scontrol", &["show", "config"]).ok();
    said.as_deref().and_then(limits_in).unwrap_or(Limits {
        size: DEFAULT_MAX_ARRAY_SIZE,
        tasks: DEFAULT_MAX_ARRAY_SIZE,
        known: false,
    })
}

fn limits_in(config: &str) -> Option<Limits> {
    let value = |key: &str| {
        let line = config.lines().find(|l| l.trim_start().starts_with(key))?;
        Some(line.split_once('=')?.1.trim())
    };
    let number = |text: &str| text.parse().ok().filter(|n| *n > 0);
    let size = number(value("MaxArraySize")?)?;
    let parameters = value("SchedulerParameters").unwrap_or_default();
    let tasks = parameters
        .split(',')
        .find_map(|p| p.strip_prefix("max_array_tasks="));
    Some(Limits {
        size,
        tasks: tasks.and_then(number).unwrap_or(size),
        known: true,
    })
}

/// The elements of this run's arrays that Slurm still has.
///
/// # Errors
/// Those of squeue.
pub fn elements(run: &Path) -> Result<Vec<Element>> {
    // Not with --array, which forgets the last element of some lists with a stride (22.05); also of hidden partitions.
    let said = output(
        "squeue",
        &["--me", "--all", "--noheader", "--format=%F|%K|%T|%Z|%o"],
    )?;
    Ok(elements_in(&said, run))
}

fn elements_in(said: &str, run: &Path) -> Vec<Element> {
    let mut found = Vec::new();
    for line in said.lines() {
        let columns: Vec<&str> = line.splitn(4, '|').collect();
        let &[array, numbers, state, rest] = columns.as_slice() else {
            continue;
        };
        // A folder's name may hold the separator.
        let command = rest.strip_prefix(&*run.to_string_lossy());
        let Some(command) = command.and_then(|rest| rest.strip_prefix('|')) else {
            continue;
        };
        // An array's script may have an offset after it.
        let offset = command.rsplit(' ').next().and_then(|w| w.parse().ok());
        found.extend(numbers_in(numbers).into_iter().map(|number| Element {
            cell: number + offset.unwrap_or(0),
            job: format!("{array}_{number}"),
            state: state.to_owned(),
        }));
    }
    found
}

/// The numbers of a list as Slurm writes it: `3`, `0-7,9%2`, `0-22:2`; none for a job without elements, `N/A`.
fn numbers_in(list: &str) -> Vec<usize> {
    let list = list.split('%').next().unwrap_or_default();
    let mut numbers = Vec::new();
    for part in list.split(',') {
        let (range, stride) = part.split_once(':').unwrap_or((part, "1"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        if let (Ok(first), Ok(last), Ok(stride)) = (
            first.parse::<usize>(),
            last.parse::<usize>(),
            stride.parse::<usize>(),
        ) {
            // No list is longer than an array may be.
            numbers.extend((first..=last).step_by(stride.max(1)).take(MOST_ELEMENTS));
        }
    }
    numbers
}

/// Submits a script; returns the number of its job.
///
/// # Errors
/// Those of sbatch.
pub fn submit(arguments: &[&str]) -> Result<u64> {
    let arguments: Vec<&str> = std::iter::once("--parsable")
        .chain(arguments.iter().copied())
        .collect();
    let said = output("sbatch", &arguments)?;
    // `17`, or `17;cluster`, maybe after words of a site.
    let last = said.trim().lines().last().unwrap_or_default();
    let job = last.split(';').next().and_then(|job| job.parse().ok());
    job.ok_or_else(|| anyhow!("sbatch said {said:?} instead of a job's number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_arrays_is_read() {
        let config =
            "MailProg = /bin/true\nMaxArraySize            = 1001\nMaxBatchRequeue         = 5\n";
        let of = |config: &str| limits_in(config).map(|l| (l.size, l.tasks));
        assert_eq!(of(config), Some((1001, 1001)));
        let more = format!("{config}SchedulerParameters     = bf_continue,max_array_tasks=50\n");
        assert_eq!(of(&more), Some((1001, 50)));
        assert_eq!(of("MaxArraySize = many"), None);
        assert_eq!(of(""), None);
    }

    #[test]
    fn elements_of_this_run_only() {
        let said = "17|4|RUNNING|/runs/a|b|/runs/a|b/slurm/cell.sh\n\
                    17|5|PENDING|/runs/a|b|/runs/a|b/slurm/cell.sh 2000\n\
                    18|N/A|PENDING|/runs/a|b|/runs/a|b/slurm/report.sh\n\
                    19|4|RUNNING|/runs/other|/runs/other/slurm/cell.sh\nnonsense\n\
                    20|0-4:2,7%2|PENDING|/runs/a|b|/runs/a|b/slurm/cell.sh 10\n";
        let found = elements_in(said, Path::new("/runs/a|b"));
        let found: Vec<_> = found.iter().map(|e| (e.cell, &*e.job, &*e.state)).collect();
        let expected = [
            (4, "17_4", "RUNNING"),
            (2005, "17_5", "PENDING"),
            (10, "20_0", "PENDING"),
            (12, "20_2", "PENDING"),
            (14, "20_4", "PENDING"),
            (17, "20_7", "PENDING"),
        ];
        assert_eq!(found, expected);
        for (list, count) in [
            ("N/A", 0),
            ("", 0),
            ("7-3", 0),
            ("0-9:0", 10),
            ("0-18446744073709551615", MOST_ELEMENTS),
        ] {
            assert_eq!(numbers_in(list).len(), count, "{list}");
        }
    }
}
