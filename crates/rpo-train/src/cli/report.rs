//! `rpo-train report RUN…`: the report of a run, finished or not, without its model; or a comparison of several.

use super::given;
use super::numbers::finite;
use crate::best;
use crate::files;
use anyhow::Result;
use clap::Args;
use rpo_experiment::plan::Plan;
use rpo_experiment::run::{Run, RunInfo};
use rpo_files::failure::{BadInput, OrBadInput};
use rpo_files::{AtPath, destination, say};
use rpo_report::collect::{Compared, REPORT_DATA, Shown, across, collect, read};
use rpo_report::page::{self, ReportData};
use rpo_report::table::Table;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Arguments of `report`.
#[derive(Args)]
pub(super) struct ReportArgs {
    /// Run folders
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    /// Row that the others are compared with, `ARM · RULE`; of several runs, `RUN: ARM · RULE`; default: the experiment's
    #[arg(long, value_name = "ROW")]
    baseline: Option<String>,
    /// Half-width of the equivalence tests; default: the experiment's
    #[arg(long, value_parser = finite)]
    margin: Option<f64>,
    /// Where to write a comparison; its tables are written beside it
    #[arg(long, default_value = "comparison.html")]
    out: PathBuf,
    /// Print the table as JSON (`docs/results.md`) instead of text
    #[arg(long)]
    json: bool,
}

/// The first characters of a comparison's tables, by their extension.
const TABLES: [(&str, &str); 4] = [
    ("json", "{\n  \"title\": \"Runs compared"),
    ("csv", "arm,rule,metric,"),
    ("subjects.csv", "arm,rule,subject,"),
    ("tex", "% Needs \\usepackage{booktabs}"),
];

/// One run: writes its tables and page from its records; several: writes a comparison to `out`, and nothing into the runs.
pub(super) fn report(args: &ReportArgs) -> Result<()> {
    if args.margin.is_some_and(|margin| margin <= 0.0) {
        return Err(BadInput::new(
            "--margin: must be above 0\n  hint: --margin 0.002",
        ));
    }
    if args.runs.len() > 1 {
        check_out(&args.out)?;
    }
    for path in &args.runs {
        given::want_run(path)?;
    }
    match args.runs.as_slice() {
        [one] => of_one(args, one),
        _ => of_several(args),
    }
}

fn of_one(args: &ReportArgs, path: &Path) -> Result<()> {
    let run = Run {
        path: path.to_path_buf(),
    };
    let shown = Shown {
        baseline: args.baseline.clone(),
        margin: args.margin,
    };
    let page = path.join("report.html");
    let mut chosen = Vec::new();
    // Runs of earlier versions have no plan: their final report data is rendered again.
    if run.plan_path().is_file() {
        let (plan, info) = opened(&run)?;
        let told = collect(&plan, &info, &run, &shown)?;
        print(args.json, &told, &path.join("eval.json"))?;
        chosen = best::link(&plan, &run)?;
    } else {
        let html = page::render(&final_data(path)?)?;
        files::write(&page, html.as_bytes())?;
    }
    if !args.json {
        for line in best::lines(&run, &chosen) {
            say!("{line}");
        }
        say!("report   {}", page.display());
    }
    Ok(())
}

fn opened(run: &Run) -> Result<(Plan, RunInfo)> {
    let info = run.info().or_bad_input("run folder")?;
    Ok((run.plan().or_bad_input("run folder")?, info))
}

/// What the last report of a run wrote.
fn final_data(path: &Path) -> Result<ReportData> {
    files::read_json(&path.join(REPORT_DATA)).or_bad_input(
        "this is no run, or it has not begun; give the folder that `rpo-train FILE` made",
    )
}

fn of_several(args: &ReportArgs) -> Result<()> {
    let mut data = Vec::with_capacity(args.runs.len());
    let mut compared = Vec::with_capacity(args.runs.len());
    for path in &args.runs {
        let run = Run { path: path.clone() };
        if !run.plan_path().is_file() {
            data.push(final_data(path)?);
            continue;
        }
        let (plan, info) = opened(&run)?;
        let read = read(&plan, &info, &run, &Shown::default())?;
        let run = Compared {
            name: String::new(),
            plan,
            info,
            run,
        };
        compared.push((data.len(), run));
        data.push(read);
    }
    let names = tell_apart(&args.runs, &data);
    let compared: Vec<Compared> = compared
        .into_iter()
        .map(|(place, run)| Compared {
            name: names[place].clone(),
            ..run
        })
        .collect();
    let table = match compared.is_empty() {
        true => None,
        false => across(&compared, args.baseline.as_deref(), args.margin)?,
    };
    let json = write_tables(table.as_ref(), &args.out)?;
    let text = table.as_ref().map_or(String::new(), Table::to_text);
    print(args.json, &text, &json)?;
    let html = page::compare(&data, &names, table.as_ref())?;
    files::write(&args.out, html.as_bytes())?;
    if !args.json {
        say!("report   {}", args.out.display());
    }
    Ok(())
}

/// Refuses a place where the page or one of its tables would replace something else.
fn check_out(out: &Path) -> Result<()> {
    destination::replaceable("--out", out, [], |start| {
        destination::holds(start, "runs compared · RPO</title>")
    })?;
    for (extension, begins) in TABLES {
        let path = out.with_extension(extension);
        if path == out {
            return Err(BadInput::new(format!(
                "--out {}: this is the place of a table that is written beside the page\n  hint: --out comparison.html",
                out.display()
            )));
        }
        destination::replaceable("--out", &path, [], |start| {
            start.starts_with(begins.as_bytes())
        })?;
    }
    Ok(())
}

fn print(json: bool, text: &str, file: &Path) -> Result<()> {
    if !json {
        say!("{text}");
    } else if file.is_file() {
        say!(
            "{}",
            std::fs::read_to_string(file).or_bad_input(file.display())?
        );
    } else {
        say!("null");
    }
    Ok(())
}

/// A name for each run: the experiment's; if two are the same, the folders'; if these are, too, with numbers.
fn tell_apart(paths: &[PathBuf], runs: &[ReportData]) -> Vec<String> {
    let distinct = |names: &[String]| names.iter().collect::<BTreeSet<_>>().len() == names.len();
    let names: Vec<String> = runs.iter().map(|run| run.name.clone()).collect();
    if distinct(&names) {
        return names;
    }
    let folder = |path: &PathBuf| {
        let name = path.file_name().unwrap_or(path.as_os_str());
        name.to_string_lossy().into_owned()
    };
    let names: Vec<String> = paths.iter().map(folder).collect();
    if distinct(&names) {
        return names;
    }
    let numbered = names.into_iter().enumerate();
    numbered
        .map(|(i, name)| format!("{}. {name}", i + 1))
        .collect()
}

/// Writes the tables beside the page, or removes earlier ones, which would contradict it; returns the path of the JSON.
fn write_tables(table: Option<&Table>, out: &Path) -> Result<PathBuf> {
    let paths = TABLES.map(|(extension, _)| out.with_extension(extension));
    match table {
        Some(table) => {
            let texts = [
                table.to_json()?,
                table.to_csv()?,
                table.subjects_csv()?,
                table.to_latex(),
            ];
            for (path, text) in paths.iter().zip(&texts) {
                files::write(path, text.as_bytes())?;
            }
        }
        None => {
            for path in paths.iter().filter(|path| path.is_file()) {
                std::fs::remove_file(path).removing(path)?;
            }
        }
    }
    let [json, ..] = paths;
    Ok(json)
}
