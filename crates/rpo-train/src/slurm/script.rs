//! The two scripts of a run, as a person would write them.

use super::options::Options;
use crate::shell::word;
use std::path::Path;

/// What both scripts name.
pub struct Scripts<'a> {
    /// This program.
    pub program: &'a Path,
    /// The run folder, absolute.
    pub run: &'a Path,
    /// Name of the experiment.
    pub name: &'a str,
    /// Options of sbatch.
    pub options: &'a Options,
}

/// Seconds between a time limit's warning and the limit: a gradient step or a batch of pictures, and saving, must fit.
const WARNING: u32 = 120;

impl Scripts<'_> {
    /// The script of an array's elements; its argument is added to their numbers.
    pub fn cell(&self) -> String {
        let mut options = vec![
            format!("--job-name={}", plain(self.name)),
            format!("--output={}", log(self.run, "%A_%a.log")),
            "--open-mode=append".to_owned(),
            "--requeue".to_owned(),
            format!("--signal=B:USR1@{WARNING}"),
        ];
        options.extend(self.options.array.iter().cloned());
        let start = r#"
# USR1 comes before a time limit or a preemption: the cell saves and ends with 75, and its element is queued again.
# TERM comes from scancel: the cell saves and ends; the next `rpo-train submit` goes on with it. It counts, whatever came before:
# a cancelled element that is queued again would run again.
again=
ended=
trap 'again=yes; [ -z "${!-}" ] || kill -TERM "$!" 2> /dev/null' USR1
trap 'ended=yes; [ -z "${!-}" ] || kill -TERM "$!" 2> /dev/null' TERM

# The cores of this job, also where Slurm does not bind it to them.
export RAYON_NUM_THREADS="$SLURM_CPUS_ON_NODE"
# Of the shell that submitted, maybe.
unset HQ_TASK_ID
"#;
        let body = format!(
            r#"
code=75
if [ -z "$again$ended" ]; then
    {} cell {} --offset "${{1:-0}}" &
    # A signal ends wait early, while the cell goes on.
    while kill -0 "$!" 2> /dev/null; do
        wait "$!" || :
    done
    code=0
    wait "$!" || code=$?
fi
# 75: saved. Above 128 or below 0: a signal ended the cell before it listened, or bash mistook one for its end.
if [ "$again" ] && {{ [ "$code" = 75 ] || [ "$code" -gt 128 ] || [ "$code" -lt 0 ]; }}; then
    # The controller may be away for a moment.
    for pause in 0 5 10 20; do
        sleep "$pause"
        [ -z "$ended" ] || break
        scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}" && break
    done
fi
exit "$code"
"#,
            word(self.program),
            word(self.run)
        );
        self.script("One cell of an array", &options, [start, &body])
    }

    /// The script of the job after the cells.
    pub fn report(&self) -> String {
        let mut options = vec![
            format!("--job-name={}-report", plain(self.name)),
            format!("--output={}", log(self.run, "report-%j.log")),
        ];
        options.extend(self.options.report.iter().cloned());
        let body = format!("\n{} report {}\n", word(self.program), word(self.run));
        self.script(
            "The tables and the page of what is finished",
            &options,
            ["", &body],
        )
    }

    /// The site's own lines come between the two parts.
    fn script(&self, what: &str, options: &[String], [start, body]: [&str; 2]) -> String {
        let mut text = format!("#!/bin/bash\n# {what}; written by `rpo-train submit`.\n");
        let chdir = format!("--chdir={}", path(self.run));
        for option in options.iter().chain([&chdir]) {
            text += &format!("#SBATCH {option}\n");
        }
        text += start;
        if !self.options.setup.is_empty() {
            text += &format!("\n{}\n", self.options.setup.join("\n"));
        }
        text + body
    }
}

/// The path of a log, in whose folder `%` begins no pattern.
fn log(folder: &Path, name: &str) -> String {
    let folder = folder.display().to_string().replace('%', "%%");
    path(&Path::new(&folder).join("slurm").join(name))
}

/// A path in an option.
fn path(path: &Path) -> String {
    let text = path.display().to_string();
    match text.contains([' ', '"', '\'', '\\', '#']) {
        true => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        false => text,
    }
}

/// A name without what separates options.
fn plain(name: &str) -> String {
    let plain = |c: char| {
        if c.is_alphanumeric() || "._-+".contains(c) {
            c
        } else {
            '-'
        }
    };
    name.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_paths_stay_one_word() {
        let options = Options::default();
        let scripts = Scripts {
            program: Path::new("/opt/it's/rpo-train"),
            run: Path::new("/runs/100% \"dog\""),
            name: "my dog",
            options: &options,
        };
        let text = scripts.cell();
        for line in [
            r"'/opt/it'\''s/rpo-train' cell '/runs/100% ",
            r#"#SBATCH --chdir="/runs/100% \"dog\"""#,
            r#"#SBATCH --output="/runs/100%% \"dog\"/slurm/%A_%a.log""#,
            "#SBATCH --job-name=my-dog",
        ] {
            assert!(text.contains(line), "no {line} in:\n{text}");
        }
        assert!(scripts.report().contains(" report '/runs/100%"));
    }
}
