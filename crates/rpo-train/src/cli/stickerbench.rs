//! `rpo-train stickerbench`: subjects of the embedded world as a folder in DreamBench's layout.

use crate::export::Staging;
use anyhow::Result;
use clap::Args;
use rpo_data::stickerbench::REFERENCES;
use rpo_data::stickerbench::dataset::Dataset;
use rpo_files::failure::OrBadInput;
use rpo_files::say;
use std::path::PathBuf;

/// Arguments of `stickerbench`.
#[derive(Args)]
pub(super) struct StickerbenchArgs {
    /// Number of subjects, at most 100000; those of `subjects.source = "stickerbench"`
    #[arg(long)]
    subjects: usize,
    /// Where to write: a new folder
    #[arg(long)]
    to: PathBuf,
    /// Seed of looks and scenes
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Pictures of each subject
    #[arg(long, default_value_t = REFERENCES)]
    references: usize,
}

/// Writes the folder, which appears whole or not at all.
pub(super) fn stickerbench(args: &StickerbenchArgs) -> Result<()> {
    let dataset = Dataset {
        seed: args.seed,
        subjects: args.subjects,
        references: args.references,
    };
    dataset.check().or_bad_input("stickerbench")?;
    let staging = Staging::begin(&args.to)?;
    dataset.write(staging.path())?;
    staging.finish()?;
    say!(
        "{}: {} subjects with {} pictures each; to train on them: [subjects] source = \"dreambench\", path = {:?}, count = 0",
        args.to.display(),
        args.subjects,
        args.references,
        args.to.join("dataset").display().to_string()
    );
    Ok(())
}
