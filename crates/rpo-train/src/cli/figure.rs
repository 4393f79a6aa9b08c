//! `rpo-train figure RUN`: subjects in pictures: references, base model, chosen checkpoint and last step on the same prompts and noise.

use super::given;
use super::sheet::{self, Sheet};
use anyhow::{Context, Result};
use clap::Args;
use image::RgbImage;
use image::imageops::{FilterType, resize};
use rpo_data::picture::png_bytes;
use rpo_data::random::{shuffle, stream};
use rpo_experiment::plan::{Cell, Plan};
use rpo_experiment::run::{Run, Tested};
use rpo_files::failure::{BadInput, OrBadInput};
use rpo_files::say;
use rpo_reward::select::Kind;
use std::path::{Path, PathBuf};

/// Arguments of `figure`.
#[derive(Args)]
pub(super) struct FigureArgs {
    /// Run folder
    run: PathBuf,
    /// PNG to write
    #[arg(long, default_value = "figure.png")]
    out: PathBuf,
    /// Subjects in it, drawn by --seed
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    subjects: u16,
    /// Test prompts in it, drawn by --seed
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=100))]
    prompts: u16,
    /// Draws subjects and prompts
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Arm; default: the run's first
    #[arg(long, value_name = "NAME")]
    arm: Option<String>,
    /// Rule that chose; default: the run's first
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,
    /// Each pixel becomes so many to the side
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=8))]
    enlarge: u8,
}

/// Writes the figure from the pictures that the run keeps; subjects without a result are left out.
pub(super) fn figure(args: &FigureArgs) -> Result<()> {
    given::want_run(&args.run)?;
    if args.out.exists() {
        return Err(BadInput::new(format!(
            "--out {}: exists, and nothing is overwritten\n  hint: another name",
            args.out.display()
        )));
    }
    let run = Run {
        path: args.run.clone(),
    };
    let plan = run.plan().or_bad_input("run folder")?;
    let drawn = Drawn::of(args, &plan, &run)?;
    let rows = drawn
        .rows
        .iter()
        .map(|(name, pictures)| (name.clone(), pictures.iter().collect()));
    let sheet = Sheet {
        columns: drawn.columns,
        rows: rows.collect(),
    };
    if !sheet::fits(sheet.columns.len(), sheet.rows.len()) {
        return Err(BadInput::new(format!(
            "{} x {} pictures do not fit into one figure\n  hint: fewer --subjects or --prompts",
            sheet.columns.len(),
            sheet.rows.len()
        )));
    }
    rpo_files::write(&args.out, &png_bytes(&sheet.draw()))?;
    say!("{}", args.out.display());
    Ok(())
}

/// What the figure shows.
struct Drawn {
    columns: Vec<String>,
    rows: Vec<(String, Vec<RgbImage>)>,
}

impl Drawn {
    fn of(args: &FigureArgs, plan: &Plan, run: &Run) -> Result<Self> {
        let arm = match &args.arm {
            None => 0,
            Some(name) => plan
                .arms
                .iter()
                .position(|arm| arm.name == *name)
                .ok_or_else(|| {
                    let names: Vec<&str> = plan.arms.iter().map(|arm| arm.name.as_str()).collect();
                    BadInput::new(format!(
                        "--arm: the run has no arm \"{name}\"\n  hint: one of {}",
                        names.join(", ")
                    ))
                })?,
        };
        let rule = match &args.rule {
            None => 0,
            Some(name) => {
                let rule = plan
                    .rule_named(name)
                    .map_err(|e| BadInput::new(format!("--rule: {e}")))?;
                plan.rules
                    .iter()
                    .position(|known| known.name == rule.name)
                    .unwrap_or(0)
            }
        };
        let mut cells: Vec<&Cell> = plan.cells.iter().filter(|cell| cell.arm == arm).collect();
        cells.sort_by_key(|cell| cell.seed);
        cells.dedup_by_key(|cell| (cell.seed, cell.subject));
        let first = cells.first().map(|cell| cell.seed);
        cells.retain(|cell| Some(cell.seed) == first);
        shuffle(&mut stream(args.seed, "figure subjects", &[]), &mut cells);
        let subject = plan.subject(cells.first().context("a run has cells")?);
        let templates = &subject.prompts.test;
        let mut prompts: Vec<usize> = (0..templates.len()).collect();
        shuffle(&mut stream(args.seed, "figure prompts", &[]), &mut prompts);
        prompts.truncate(args.prompts.into());
        prompts.sort_unstable();
        let short = |prompt: &usize| rpo_data::prompts::fill(&templates[*prompt], None, "{}");
        let mut drawn = Self {
            columns: [String::from("references")]
                .into_iter()
                .chain(prompts.iter().map(short))
                .collect(),
            rows: Vec::new(),
        };
        let mut shown = 0;
        for cell in cells {
            if shown == args.subjects {
                break;
            }
            let Some(tested) = run.tested(plan, cell)? else {
                continue;
            };
            let rows = of_cell(plan, run, cell, &tested, rule, &prompts)?;
            drawn.rows.extend(rows.into_iter().map(|(name, pictures)| {
                let larger = |picture: &RgbImage| {
                    let [w, h] = [picture.width(), picture.height()]
                        .map(|side| side * u32::from(args.enlarge));
                    resize(picture, w, h, FilterType::Nearest)
                };
                (name, pictures.iter().map(larger).collect())
            }));
            shown += 1;
        }
        if shown == 0 {
            return Err(BadInput::new(format!(
                "{}: no subject of this arm has a result yet\n  hint: rpo-train status {}",
                run.path.display(),
                run.path.display()
            )));
        }
        Ok(drawn)
    }
}

/// A row per checkpoint: a reference, and the first picture of each prompt.
fn of_cell(
    plan: &Plan,
    run: &Run,
    cell: &Cell,
    tested: &Tested,
    rule: usize,
    prompts: &[usize],
) -> Result<Vec<(String, Vec<RgbImage>)>> {
    let (folder, name) = (run.trajectory(cell), &plan.subject(cell).name);
    let step = |rule: usize| tested.choices.steps[tested.choices.decisions[rule].chosen];
    let chosen = format!("chosen by {}: step {}", plan.rules[rule].name, step(rule));
    let last = plan.rules.iter().position(|rule| rule.kind == Kind::Last);
    let last = last
        .filter(|last| *last != rule)
        .map(|last| (format!("last: step {}", step(last)), step(last)));
    let shown = [("step 0".to_owned(), 0), (chosen, step(rule))]
        .into_iter()
        .chain(last);
    let row = |(i, (what, step)): (usize, (String, usize))| {
        let samples = folder.samples("test", step);
        let of = prompts
            .iter()
            .map(|prompt| samples.join(format!("prompt-{prompt:02}-0.png")));
        let reference = folder.0.join(format!("references/{i:02}.png"));
        let paths = [reference].into_iter().chain(of);
        let pictures = paths.map(|path| read(&path)).collect::<Result<_>>()?;
        Ok((format!("{name} · {what}"), pictures))
    };
    shown.enumerate().map(row).collect()
}

fn read(path: &Path) -> Result<RgbImage> {
    let picture = image::open(path).with_context(|| path.display().to_string());
    Ok(picture.or_bad_input("a picture of the run")?.into_rgb8())
}
