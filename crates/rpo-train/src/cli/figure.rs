//! `rpo-train figure RUN`: subjects in pictures: references, base model, chosen checkpoint and last step on the same prompts and noise.

use super::given;
use super::sheet::{self, Sheet};
use crate::files;
use anyhow::{Context, Result};
use clap::Args;
use image::RgbImage;
use image::imageops::{FilterType, resize};
use rpo_data::picture::{center_square, png_bytes};
use rpo_data::prompts::fill;
use rpo_data::random::{shuffle, stream};
use rpo_experiment::plan::{Cell, Plan};
use rpo_experiment::run::{Run, Tested};
use rpo_experiment::words::{same_name, suggest};
use rpo_files::failure::{BadInput, OrBadInput};
use rpo_files::{destination, say};
use rpo_reward::Candidate;
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
    /// Each pixel becomes so many to the side; 2 suits the embedded model's 64 pixels
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8))]
    enlarge: u8,
}

/// Writes the figure from the pictures that the run keeps; subjects without a result, and with other test prompts than the first one
/// drawn, are left out.
pub(super) fn figure(args: &FigureArgs) -> Result<()> {
    given::want_run(&args.run)?;
    destination::free("--out", &args.out, false)?;
    let run = Run {
        path: args.run.clone(),
    };
    let plan = run.plan().or_bad_input("run folder")?;
    let shown = Shown::of(args, &plan, &run)?;
    let columns = 1 + shown.prompts.len();
    if !sheet::fits(columns, 3 * shown.cells.len()) {
        return Err(BadInput::new(format!(
            "{columns} pictures across and {} down do not fit into one figure\n  hint: fewer --subjects or --prompts",
            3 * shown.cells.len()
        )));
    }
    let mut rows = Vec::new();
    for (cell, tested) in &shown.cells {
        rows.extend(shown.of_cell(args, &plan, &run, cell, tested)?);
    }
    let heads = shown.prompts.iter().map(|(_, head)| head.clone());
    let sheet = Sheet {
        columns: [String::from("references")]
            .into_iter()
            .chain(heads)
            .collect(),
        rows: rows
            .iter()
            .map(|(name, pictures)| (name.clone(), pictures.iter().collect()))
            .collect(),
    };
    files::write(&args.out, &png_bytes(&sheet.draw()))?;
    say!("{}", args.out.display());
    Ok(())
}

/// What the figure shows.
struct Shown<'a> {
    cells: Vec<(&'a Cell, Tested)>,
    /// Index of the rule that chose.
    rule: usize,
    /// Test prompts by index, with their words.
    prompts: Vec<(usize, String)>,
}

impl<'a> Shown<'a> {
    fn of(args: &FigureArgs, plan: &'a Plan, run: &Run) -> Result<Self> {
        let arm = match &args.arm {
            None => 0,
            Some(name) => {
                let names: Vec<&str> = plan.arms.iter().map(|arm| arm.name.as_str()).collect();
                let found = names.iter().position(|known| same_name(known, name));
                found.ok_or_else(|| {
                    let hint = suggest(name, &names);
                    BadInput::new(format!(
                        "--arm: the run has no arm \"{name}\"\n  hint: {hint}"
                    ))
                })?
            }
        };
        let rule = match &args.rule {
            None => 0,
            Some(name) => {
                let rule = plan.rule_named(name);
                let rule = rule.map_err(|e| BadInput::new(format!("--rule: {e}")))?;
                plan.rules
                    .iter()
                    .position(|known| known.name == rule.name)
                    .unwrap_or(0)
            }
        };
        let of_arm = || plan.cells.iter().filter(|cell| cell.arm == arm);
        let first = of_arm().map(|cell| cell.seed).min();
        let mut cells: Vec<&Cell> = of_arm().filter(|cell| Some(cell.seed) == first).collect();
        shuffle(&mut stream(args.seed, "figure subjects", &[]), &mut cells);
        let mut shown = Self {
            cells: Vec::new(),
            rule,
            prompts: Vec::new(),
        };
        let mut templates: &[String] = &[];
        for cell in cells {
            let own = &plan.subject(cell).prompts.test;
            if shown.cells.len() == usize::from(args.subjects) {
                break;
            }
            if !shown.cells.is_empty() && own != templates {
                continue;
            }
            if let Some(tested) = run.tested(plan, cell)? {
                templates = own;
                shown.cells.push((cell, tested));
            }
        }
        if shown.cells.is_empty() {
            return Err(BadInput::new(format!(
                "{}: no subject of this arm has a result yet\n  hint: rpo-train status {}",
                run.path.display(),
                run.path.display()
            )));
        }
        let mut prompts: Vec<usize> = (0..templates.len()).collect();
        shuffle(&mut stream(args.seed, "figure prompts", &[]), &mut prompts);
        prompts.truncate(args.prompts.into());
        prompts.sort_unstable();
        // "a {} in the snow", as `generate -p` takes it.
        let words = |prompt: usize| (prompt, fill(&templates[prompt], None, "{}"));
        shown.prompts = prompts.into_iter().map(words).collect();
        Ok(shown)
    }

    /// A row per checkpoint: a reference, and the first picture of each prompt.
    fn of_cell(
        &self,
        args: &FigureArgs,
        plan: &Plan,
        run: &Run,
        cell: &Cell,
        tested: &Tested,
    ) -> Result<Vec<(String, Vec<RgbImage>)>> {
        let (folder, subject) = (run.trajectory(cell), plan.subject(cell));
        let step = |rule: usize| tested.choices.chosen(rule);
        let chosen = format!(
            "chosen by {}: step {}",
            plan.rules[self.rule].name,
            step(self.rule)
        );
        let last = plan.rules.iter().position(|rule| rule.kind == Kind::Last);
        let last = last.filter(|last| *last != self.rule).map(step);
        let shown = [
            ("step 0".to_owned(), Candidate::BASE),
            (chosen, step(self.rule)),
        ]
        .into_iter();
        let shown = shown.chain(last.map(|last| (format!("last: step {last}"), last)));
        let row = |(i, (what, step)): (usize, (String, Candidate))| {
            let samples = folder.samples("test", step);
            let of =
                |(prompt, _): &(usize, String)| samples.join(format!("prompt-{prompt:02}-0.png"));
            let photo = i % subject.photos.max(1);
            let reference = folder.0.join(format!("references/{photo:02}.png"));
            let paths = [reference].into_iter().chain(self.prompts.iter().map(of));
            let pictures = paths.map(|path| read(&path, args.enlarge.into()));
            Ok((
                format!("{} · {what}", subject.name),
                pictures.collect::<Result<_>>()?,
            ))
        };
        shown.enumerate().map(row).collect()
    }
}

/// The centre square of a picture, each pixel enlarged.
fn read(path: &Path, enlarge: u32) -> Result<RgbImage> {
    let picture = image::open(path).with_context(|| path.display().to_string());
    let picture = picture.or_bad_input("a picture of the run")?.into_rgb8();
    let side = picture.width().min(picture.height());
    let square = center_square(&picture, side);
    let larger = side * enlarge;
    Ok(resize(&square, larger, larger, FilterType::Nearest))
}
