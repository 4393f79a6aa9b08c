//! `rpo-hostile TARGET` tries hostile input on one reader, or on all.

use anyhow::{Result, bail};
use clap::Parser;
use rpo_hostile::campaign::{self, Limits};
use rpo_hostile::worker::{self, Order, Summary};
use rpo_hostile::{Target, Verdict, allocator, listen, targets};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;

#[derive(Parser)]
#[command(
    name = "rpo-hostile",
    about = "Tries hostile input on every reader of outside data."
)]
struct Args {
    /// A reader, `all`, or `list`
    target: String,
    /// Seed of the inputs
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Inputs for each reader; default: 1000, or no limit with --minutes
    #[arg(long)]
    executions: Option<u64>,
    /// Minutes for each reader
    #[arg(long)]
    minutes: Option<f64>,
    /// Where inputs that show a fault are kept
    #[arg(long, default_value = "target/hostile")]
    findings: PathBuf,
    /// Read one folder and say what becomes of it
    #[arg(long, value_name = "FOLDER")]
    replay: Option<PathBuf>,
    /// Folder of this process, which another one started
    #[arg(long, hide = true)]
    work: Option<PathBuf>,
    /// Number of this process
    #[arg(long, hide = true, default_value_t = 0)]
    batch: u64,
}

fn main() -> ExitCode {
    // candle adds a trace to every error if it is asked for one, which takes longer than all else.
    for (name, value) in [
        ("CANDLE_NUM_THREADS", "1"),
        ("RUST_BACKTRACE", "0"),
        ("RUST_LIB_BACKTRACE", "0"),
    ] {
        // SAFETY: no other thread exists yet, so none can read the environment meanwhile.
        unsafe { std::env::set_var(name, value) };
    }
    let args = Args::parse();
    // On the pool, as the program does: its threads have their own stacks.
    match rpo_nn::on_pool(|| run(&args)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether no fault was found.
fn run(args: &Args) -> Result<bool> {
    let chosen: Vec<&Target> = match args.target.as_str() {
        "list" => {
            for target in targets::ALL {
                println!("{:<14} {}", target.name, target.about);
            }
            return Ok(true);
        }
        "all" => targets::ALL.iter().collect(),
        name => targets::ALL.iter().filter(|t| t.name == name).collect(),
    };
    let Some(first) = chosen.first() else {
        bail!(
            "{}: no such reader; `rpo-hostile list` names them",
            args.target
        )
    };
    let time = args.minutes.map(|m| Duration::from_secs_f64(m * 60.));
    let limits = Limits {
        executions: args
            .executions
            .unwrap_or(if time.is_some() { u64::MAX } else { 1000 }),
        time,
    };
    if let Some(folder) = &args.replay {
        let verdict = campaign::replay(first, folder, args.work.as_ref())?;
        println!("{verdict:#?}");
        return Ok(args.work.is_some() || !matches!(verdict, Verdict::Fault(_)));
    }
    if let Some(place) = &args.work {
        listen();
        let order = Order {
            seed: args.seed,
            batch: args.batch,
            executions: limits.executions,
            time,
            place: place.clone(),
            findings: args.findings.clone(),
        };
        worker::work(first, &order)?;
        return Ok(true);
    }
    let mut clean = true;
    for target in chosen {
        let start = Instant::now();
        let summary = campaign::run(target, args.seed, limits, &args.findings)?;
        print(target, &summary, start.elapsed());
        clean &= summary.faults.is_empty();
    }
    if !clean {
        println!("inputs that show them: {}", args.findings.display());
    }
    Ok(clean)
}

fn print(target: &Target, summary: &Summary, took: Duration) {
    println!(
        "{:<14} {:>9} inputs, {:>6.0} a second, {:>5.1} % accepted, {:>4} refusals, {} faults",
        target.name,
        summary.executions,
        summary.executions as f64 / took.as_secs_f64(),
        100. * summary.accepted as f64 / summary.executions.max(1) as f64,
        summary.refusals.len(),
        summary.faults.len()
    );
    for (key, (times, fault)) in &summary.faults {
        let detail: String = fault
            .detail
            .chars()
            .filter(|c| !c.is_control())
            .take(300)
            .collect();
        println!("    {times} x {key}\n        {detail}");
    }
}
