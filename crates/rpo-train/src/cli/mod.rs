//! The command line.

mod cache;
mod cell;
mod check;
mod checkpoint;
mod chooser;
mod doctor;
mod eval;
mod experiment_args;
mod experiments;
mod export;
mod figure;
mod forward;
mod generate;
mod given;
mod lora;
mod new;
mod numbers;
mod plan;
mod prepare;
mod report;
mod run;
mod sheet;
mod status;
mod stickerbench;
mod submit;
mod verb;
mod worker;

use anyhow::{Context, Result};
use clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
use clap::{CommandFactory, Parser, Subcommand};
use experiment_args::ExperimentArgs;
use rpo_files::failure::BadInput;
use rpo_files::{console, say};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::PathBuf;

#[derive(Parser)]
#[command(
    name = "rpo-train",
    version = env!("RPO_VERSION"),
    about = "Personalises text-to-image models by Reward Preference Optimization, with the checkpoint chosen by a reward."
)]
struct Cli {
    /// Print only results, warnings and errors
    #[arg(short, long, global = true)]
    quiet: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run or resume an experiment (the verb may be omitted: `rpo-train FILE`)
    Run {
        #[command(flatten)]
        file: ExperimentArgs,
        /// Run folder; default: <output>/<name>-<hash of settings and inputs>
        #[arg(long)]
        out: Option<PathBuf>,
        /// Cells run at a time, each in its own process with its share of the threads; default: 1, or one per GPU of --gpus
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
        jobs: Option<u16>,
        /// GPUs that the cells get in turn, as CUDA_VISIBLE_DEVICES names them; default: those that it names
        #[arg(long, value_name = "0,1", value_delimiter = ',')]
        gpus: Vec<String>,
        /// Print what was chosen, where it is and what failed as JSON on standard output, and nothing else there
        #[arg(long)]
        json: bool,
    },
    /// Write an experiment file for a subject of your own: `rpo-train new PHOTOS --class backpack`
    New(new::NewArgs),
    /// Run one cell of a run folder; a finished cell returns at once
    Cell(cell::CellArgs),
    /// Send the cells without a result to Slurm, as arrays, and a report after them
    Submit(submit::SubmitArgs),
    /// Make the run folder of an experiment for workers of another engine, without running a cell
    Prepare {
        #[command(flatten)]
        file: ExperimentArgs,
        /// Run folder; default: <output>/<name>-<hash of settings and inputs>
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Tell how the cells of a run stand, wherever they run
    Status(status::StatusArgs),
    /// Resolve an experiment without any weights: arms, rules, subjects, cells and their cost, as JSON
    Plan {
        #[command(flatten)]
        file: ExperimentArgs,
        /// File to write; default: print
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Read an experiment and its inputs and print what would be run, without running it
    Check {
        #[command(flatten)]
        file: ExperimentArgs,
    },
    /// Draw pictures with a checkpoint of a run, or with the base model
    Generate(generate::GenerateArgs),
    /// Run one part of a model on given tensors and write its output
    Forward(forward::ForwardArgs),
    /// Inspect and convert LoRA files, merge them into a model and remove them again
    #[command(subcommand)]
    Lora(lora::LoraVerb),
    /// Write a checkpoint of a run, or a model folder, as a whole model: a diffusers folder or a single file
    Export(export::ExportArgs),
    /// Convert a single-file checkpoint into a model folder
    Import(export::ImportArgs),
    /// Score pictures from any source with the same encoders and averages as a run's test pictures
    Eval(eval::EvalArgs),
    /// Write the tables and the page of a run from its records, finished or not; with several runs, compare them
    Report(report::ReportArgs),
    /// Write a picture of a run: references, base model, chosen checkpoint and last step on the same prompts and noise
    Figure(figure::FigureArgs),
    /// Write subjects of the embedded world as a folder to train on, with captions and masks
    Stickerbench(stickerbench::StickerbenchArgs),
    /// Show or prune the cache of drawn pictures, which all runs share
    Cache {
        /// Folder of the cache: `cache` beside the run folders
        #[arg(default_value = "runs/cache")]
        folder: PathBuf,
        /// Remove pictures unused for this many days
        #[arg(long, value_name = "DAYS", value_parser = cache::days)]
        prune: Option<f64>,
    },
    /// Print threads, SIMD level, device and models found
    Doctor,
    /// List the built-in experiments, or print the text of one, to save and edit
    Experiments {
        /// Name of an experiment or of a size
        name: Option<PathBuf>,
    },
    /// Print the JSON schema of experiment files
    Schema,
    /// Print a script that completes verbs and arguments: `rpo-train completions bash >> ~/.bash_completion`
    Completions {
        /// Shell that reads it
        shell: clap_complete::Shell,
    },
}

/// Runs the program with its arguments, beginning with the program's name.
///
/// # Errors
/// Any failure; [`rpo_files::failure::exit_code`] tells bad input from other failures.
pub fn main(args: impl Iterator<Item = OsString>) -> Result<()> {
    let args = verb::with_verb(args.collect())?;
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(said) => return help(&said),
    };
    if cli.quiet {
        console::be_quiet();
    }
    match cli.verb {
        Verb::Run {
            file,
            out,
            jobs,
            gpus,
            json,
        } => run::run(&file, out.as_deref(), jobs.map(usize::from), gpus, json),
        Verb::New(args) => new::new(&args),
        Verb::Cache { folder, prune } => cache::cache(&folder, prune),
        Verb::Cell(args) => cell::cell(&args),
        Verb::Submit(args) => submit::submit(&args),
        Verb::Prepare { file, out } => prepare::prepare(&file, out.as_deref()),
        Verb::Status(args) => status::status(&args),
        Verb::Plan { file, out } => plan::plan(&file, out.as_deref()),
        Verb::Check { file } => check::check(&file),
        Verb::Generate(args) => generate::generate(&args),
        Verb::Forward(args) => forward::forward(args),
        Verb::Lora(verb) => lora::lora(&verb),
        Verb::Export(args) => export::export(&args),
        Verb::Import(args) => export::import(&args),
        Verb::Eval(args) => eval::eval(&args),
        Verb::Report(args) => report::report(&args),
        Verb::Figure(args) => figure::figure(&args),
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "rpo-train", &mut script);
            say!("{}", String::from_utf8_lossy(&script).trim_end());
            Ok(())
        }
        Verb::Stickerbench(args) => stickerbench::stickerbench(&args),
        Verb::Doctor => doctor::doctor(),
        Verb::Experiments { name } => experiments::experiments(name.as_deref()),
        Verb::Schema => {
            say!(
                "{}",
                serde_json::to_string_pretty(&rpo_experiment::schema())?
            );
            Ok(())
        }
    }
}

/// Prints what the parser says instead of the arguments: help, the version, or an error.
fn help(said: &clap::Error) -> Result<()> {
    if said.use_stderr() {
        let text = said.to_string();
        let text = text.trim_start_matches("error: ").trim_end();
        return Err(BadInput::new(match said.kind() {
            DisplayHelpOnMissingArgumentOrSubcommand => format!("a verb is missing\n{text}"),
            _ => text.to_owned(),
        }));
    }
    match said.print() {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(e).context("standard output"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_is_known() {
        let command = Cli::command();
        let names: Vec<&str> = command
            .get_subcommands()
            .map(clap::Command::get_name)
            .collect();
        assert!(names.iter().all(|n| verb::VERBS.contains(n)), "{names:?}");
    }
}
