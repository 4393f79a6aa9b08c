//! What sbatch is told: `[slurm]` of a file beside the experiment, then the arguments after `--`.

use anyhow::{Context, Result};
use rpo_files::AtPath;
use rpo_files::failure::BadInput;
use std::path::Path;
use toml::{Table, Value};

/// The file beside an experiment.
pub const FILE: &str = "slurm.toml";

/// Options that the scripts set, by which their jobs are found again.
const OURS: [&str; 11] = [
    "array",
    "chdir",
    "clusters",
    "error",
    "help",
    "open-mode",
    "output",
    "parsable",
    "test-only",
    "wait",
    "wrap",
];

/// Those of them with one letter.
const LETTERS: [&str; 6] = ["-a", "-o", "-e", "-D", "-M", "-W"];

/// Options of an array that its report does not need: what a cell computes on, and for how long.
const OF_CELLS: [&str; 16] = [
    "gres",
    "gpus",
    "gpus-per-node",
    "gpus-per-task",
    "gpus-per-socket",
    "cpus-per-gpu",
    "mem-per-gpu",
    "cpus-per-task",
    "mem",
    "mem-per-cpu",
    "time",
    "time-min",
    "signal",
    "dependency",
    "exclusive",
    "nodes",
];

/// Options for the two scripts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// Cells at a time, if limited.
    pub jobs: Option<usize>,
    /// Lines of the scripts before the program: `module load cuda`.
    pub setup: Vec<String>,
    /// Options of the array, as sbatch reads them.
    pub array: Vec<String>,
    /// Options of the report's job.
    pub report: Vec<String>,
}

impl Options {
    /// Reads the file in `folder`, if there is one, and adds arguments.
    ///
    /// # Errors
    /// [`BadInput`] with the file and the key, or the argument.
    pub fn read(folder: &Path, arguments: &[String]) -> Result<Self> {
        let path = folder.join(FILE);
        let mut options = match path.is_file() {
            true => {
                let text = std::fs::read_to_string(&path).reading(&path)?;
                Self::of_text(&text)
                    .with_context(|| path.display().to_string())
                    .map_err(|e| BadInput::new(format!("{e:#}")))?
            }
            false => Self::default(),
        };
        let given = grouped(arguments)?;
        options
            .report
            .extend(given.iter().filter(|o| !is_of_cells(o)).cloned());
        options.array.extend(given);
        Ok(options)
    }

    fn of_text(text: &str) -> Result<Self> {
        let mut table: Table = toml::from_str(text)?;
        let slurm = match table.remove("slurm") {
            Some(Value::Table(slurm)) if table.is_empty() => slurm,
            _ => {
                return Err(BadInput::new(
                    "one table [slurm] is expected, and nothing else",
                ));
            }
        };
        let mut options = Self::default();
        let mut own = None;
        for (key, value) in slurm {
            match (key.as_str(), value) {
                ("jobs", Value::Integer(n)) if n > 0 => options.jobs = usize::try_from(n).ok(),
                ("setup", Value::Array(lines)) => {
                    let line =
                        |v: &Value| v.as_str().filter(|l| !l.contains('\n')).map(str::to_owned);
                    let lines: Option<Vec<String>> = lines.iter().map(line).collect();
                    options.setup = lines
                        .ok_or_else(|| BadInput::new("slurm.setup: a list of lines is expected"))?;
                }
                ("report", Value::Table(table)) => own = Some(table),
                (word @ ("jobs" | "setup" | "report"), value) => {
                    return Err(BadInput::new(format!(
                        "slurm.{word} = {value}: jobs is a number above 0, setup a list of lines, report a table"
                    )));
                }
                (key, value) => options
                    .array
                    .extend(option(&format!("slurm.{key}"), key, &value)?),
            }
        }
        options.report = options
            .array
            .iter()
            .filter(|o| !is_of_cells(o))
            .cloned()
            .collect();
        for (key, value) in own.into_iter().flatten() {
            options
                .report
                .extend(option(&format!("slurm.report.{key}"), &key, &value)?);
        }
        Ok(options)
    }
}

/// An option from a key and its value; `false` leaves it away.
fn option(place: &str, key: &str, value: &Value) -> Result<Option<String>> {
    let name = key.replace('_', "-");
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.starts_with('-') || !name.chars().all(plain) {
        return Err(BadInput::new(format!(
            "{place}: no option of sbatch is written like this\n  hint: without dashes before it: partition = \"gpu\""
        )));
    }
    refuse_ours(place, &name)?;
    match value {
        Value::Boolean(true) => Ok(Some(format!("--{name}"))),
        Value::Boolean(false) => Ok(None),
        Value::Integer(n) => Ok(Some(format!("--{name}={n}"))),
        Value::String(s) if !s.contains(char::is_control) => {
            Ok(Some(format!("--{name}={}", quoted(s))))
        }
        _ => Err(BadInput::new(format!(
            "{place}: a text, a whole number, true or false is expected"
        ))),
    }
}

/// The arguments after `--`, each option with its value.
fn grouped(arguments: &[String]) -> Result<Vec<String>> {
    let mut options: Vec<String> = Vec::new();
    for argument in arguments {
        let place = format!("after --: `{argument}`");
        if argument.contains(char::is_control) {
            return Err(BadInput::new(format!(
                "{place}: control characters are no part of an option"
            )));
        }
        if let Some(word) = argument.strip_prefix('-') {
            let long = word
                .strip_prefix('-')
                .map(|w| w.split('=').next().unwrap_or(w));
            match long {
                Some(name) => refuse_ours(&place, name)?,
                None if LETTERS.iter().any(|l| argument.starts_with(l)) => {
                    return Err(ours(&place));
                }
                None => {}
            }
            let (name, value) = argument
                .split_once('=')
                .map_or((argument.as_str(), None), |(n, v)| (n, Some(v)));
            options
                .push(value.map_or_else(|| name.to_owned(), |v| format!("{name}={}", quoted(v))));
        } else {
            let Some(option) = options.last_mut().filter(|o| !o.contains([' ', '='])) else {
                return Err(BadInput::new(format!(
                    "{place}: an option of sbatch is expected\n  hint: rpo-train submit FILE -- --partition=gpu --time=4:00:00"
                )));
            };
            *option += &format!(" {}", quoted(argument));
        }
    }
    Ok(options)
}

fn refuse_ours(place: &str, name: &str) -> Result<()> {
    // sbatch reads the start of a name, too.
    match OURS.iter().any(|o| o.starts_with(name)) {
        true => Err(ours(place)),
        false => Ok(()),
    }
}

fn ours(place: &str) -> anyhow::Error {
    BadInput::new(format!(
        "{place}: the scripts set this option themselves, and `status` looks for what it names\n  hint: leave it away; --jobs K limits how many cells run at a time"
    ))
}

/// A value as a line of a script holds it.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_.,:;/@%+=[]()&|*!<>".contains(c);
    match !value.is_empty() && value.chars().all(plain) {
        true => value.to_owned(),
        false => format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}

fn is_of_cells(option: &str) -> bool {
    let name = option.split(['=', ' ']).next().unwrap_or(option);
    let letters = ["-t", "-c", "-N", "-G", "-d"];
    match name.strip_prefix("--") {
        Some(name) => OF_CELLS.contains(&name),
        None => letters.iter().any(|l| name.starts_with(l)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, arguments: &[&str]) -> Result<Options, String> {
        let folder = tempfile::tempdir().unwrap();
        if !text.is_empty() {
            std::fs::write(folder.path().join(FILE), text).unwrap();
        }
        let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        Options::read(folder.path(), &arguments).map_err(|e| {
            assert!(e.is::<BadInput>());
            e.to_string()
        })
    }

    #[test]
    fn a_file_and_arguments_are_joined() {
        let text = r#"
            [slurm]
            jobs = 8
            setup = ["module load cuda"]
            partition = "gpu"
            gres = "gpu:1"
            cpus_per_task = 4
            exclusive = false
            comment = "my dog's run"
            [slurm.report]
            time = "00:10:00"
        "#;
        let options = of(text, &["--partition=long", "-t", "4:00:00", "--qos", "low"]).unwrap();
        let array = [
            "--comment=\"my dog's run\"",
            "--cpus-per-task=4",
            "--gres=gpu:1",
            "--partition=gpu",
            "--partition=long",
            "-t 4:00:00",
            "--qos low",
        ];
        let mut found = options.array.clone();
        found[..4].sort();
        assert_eq!(found, array);
        // Neither a GPU nor the time of a cell.
        let mut report = options.report;
        report[..3].sort();
        let expected = [
            "--comment=\"my dog's run\"",
            "--partition=gpu",
            "--time=00:10:00",
            "--partition=long",
            "--qos low",
        ];
        assert_eq!(report, expected);
        assert_eq!((options.jobs, options.setup.len()), (Some(8), 1));
        assert_eq!(of("", &[]).unwrap(), Options::default());
    }

    #[test]
    fn what_the_scripts_set_and_what_is_no_option_is_refused() {
        for (text, words) in [
            ("[slurm]\narray = \"0-3\"", "slurm.array: the scripts set"),
            ("[slurm]\nopen_mode = \"truncate\"", "slurm.open_mode"),
            ("[slurm]\njobs = 0", "slurm.jobs = 0"),
            ("[slurm]\nsetup = \"module\"", "slurm.setup"),
            ("[slurm]\ntime = [1]", "slurm.time: a text"),
            ("[slurm]\n\"--time\" = 1", "without dashes"),
            ("[slurm.report]\noutput = \"x\"", "slurm.report.output"),
            ("[other]\nx = 1", "one table [slurm]"),
            ("[slurm", "slurm.toml"),
        ] {
            let said = of(text, &[]).unwrap_err();
            assert!(
                said.contains(words) && said.contains(FILE),
                "{text}: {said}"
            );
        }
        for (arguments, words) in [
            (&["gpu"][..], "an option of sbatch is expected"),
            (&["--qos", "a", "b"], "`b`"),
            (&["--array=0-9"], "--jobs K"),
            (&["-o", "x"], "the scripts set"),
            (&["--wrap=true"], "the scripts set"),
            (&["--outp=x"], "the scripts set"),
            (&["-M", "other"], "the scripts set"),
            (&["--comment=a\nb"], "control characters"),
        ] {
            let said = of("", arguments).unwrap_err();
            assert!(said.contains(words), "{arguments:?}: {said}");
        }
    }
}
