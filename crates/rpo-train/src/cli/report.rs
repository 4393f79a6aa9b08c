//! `rpo-train report RUN…`: the report of a run, finished or not, without its model; or a comparison of several.

use super::given;
use super::numbers::finite;
use crate::best;
use crate::files;
use anyhow::Result;
use clap::Args;
use rpo_experiment::run::Run;
use rpo_files::failure::{BadInput, OrBadInput};
use rpo_files::{destination, say};
use rpo_report::collect::{Compared, REPORT_DATA, Shown, across, collect};
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

/// One run: writes its tables and page from its records; several: writes a comparison to `out`.
pub(super) fn report(args: &ReportArgs) -> Result<()> {
    if args.margin.is_some_and(|margin| margin <= 0.0) {
        return Err(BadInput::new(
            "--margin: must be above 0\n  hint: --margin 0.002",
        ));
    }
    if args.runs.len() > 1 {
        destination::replaceable("--out", &args.out, [], |start| {
            destination::holds(start, "runs compared · RPO</title>")
        })?;
        for (extension, begins) in TABLES {
            destination::replaceable("--out", &args.out.with_extension(extension), [], |start| {
                start.starts_with(begins.as_bytes())
            })?;
        }
    }
    let shown = match args.runs.len() {
        1 => Shown {
            baseline: args.baseline.clone(),
            margin: args.margin,
        },
        _ => Shown::default(),
    };
    let mut data = Vec::with_capacity(args.runs.len());
    let mut compared = Vec::with_capacity(args.runs.len());
    for path in &args.runs {
        given::want_run(path)?;
        let run = Run { path: path.clone() };
        // Runs of earlier versions have no plan: their final report data is rendered again.
        if run.plan_path().is_file() {
            let info = run.info().or_bad_input("run folder")?;
            let plan = run.plan().or_bad_input("run folder")?;
            let told = collect(&plan, &info, &run, &shown)?;
            if args.runs.len() == 1 {
                print(args.json, &told, &path.join("eval.json"))?;
                for line in best::lines(&run, &best::link(&plan, &run)?) {
                    if !args.json {
                        say!("{line}");
                    }
                }
            }
            let run = Compared {
                name: String::new(),
                plan,
                info,
                run,
            };
            compared.push((data.len(), run));
        }
        let report: ReportData = files::read_json(&path.join(REPORT_DATA)).or_bad_input(
            "this is no run, or it has not begun; give the folder that `rpo-train FILE` made",
        )?;
        data.push(report);
    }
    let (path, html) = match data.as_slice() {
        [one] => (args.runs[0].join("report.html"), page::render(one)?),
        many => {
            let names = tell_apart(&args.runs, many);
            let compared: Vec<Compared> = compared
                .into_iter()
                .map(|(place, run)| Compared {
                    name: names[place].clone(),
                    ..run
                })
                .collect();
            let table = across(&compared, args.baseline.as_deref(), args.margin)?;
            if let Some(table) = &table {
                let json = write_tables(table, &args.out)?;
                print(args.json, &table.to_text(), &json)?;
            }
            (
                args.out.clone(),
                page::compare(many, &names, table.as_ref())?,
            )
        }
    };
    files::write(&path, html.as_bytes())?;
    if !args.json {
        say!("report   {}", path.display());
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

/// Writes the tables beside the page; returns the path of the JSON.
fn write_tables(table: &Table, out: &Path) -> Result<PathBuf> {
    let texts = [
        table.to_json()?,
        table.to_csv()?,
        table.subjects_csv()?,
        table.to_latex(),
    ];
    for ((extension, _), text) in TABLES.iter().zip(&texts) {
        files::write(&out.with_extension(extension), text.as_bytes())?;
    }
    Ok(out.with_extension(TABLES[0].0))
}
