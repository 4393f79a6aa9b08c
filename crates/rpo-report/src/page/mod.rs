//! The report: one self-contained HTML file.
//!
//! [`render`] puts [`ReportData`] into a page as JSON, together with the page's style and scripts
//! (`page/`). The page makes no network requests, and a policy in its head forbids them.

mod answer;
mod compare;
pub mod data;
mod facts;
mod numbers;
mod picture;
mod plain;
mod table;

use anyhow::{Context, Result, bail};
use minijinja::{AutoEscape, Environment, context};
use serde::Serialize;

pub use compare::{compare, row_name};
pub use data::ReportData;

const CSS: &str = include_str!("../../page/report.css");

/// The scripts of every page, in the order of their dependencies: all up to the test table.
const COMMON: [&str; 6] = [
    include_str!("../../page/elements.js"),
    include_str!("../../page/charts.js"),
    include_str!("../../page/save.js"),
    include_str!("../../page/detail.js"),
    include_str!("../../page/results.js"),
    include_str!("../../page/kinds.js"),
];

/// Those of a run's page, which follow.
const OF_A_RUN: [&str; 8] = [
    include_str!("../../page/costs.js"),
    include_str!("../../page/choose.js"),
    include_str!("../../page/line_chart.js"),
    include_str!("../../page/subjects.js"),
    include_str!("../../page/trajectory.js"),
    include_str!("../../page/samples.js"),
    include_str!("../../page/slider.js"),
    include_str!("../../page/page.js"),
];

const REPORT: &str = include_str!("../../page/report.html.j2");
/// The table that both pages show without their scripts.
const PLAIN: &str = include_str!("../../page/plain.html.j2");

/// The page of one run.
///
/// # Errors
/// If a picture is no PNG data URI, a trajectory or a table is inconsistent, or a value cannot be
/// written as JSON.
pub fn render(data: &ReportData) -> Result<String> {
    check(data)?;
    let mut shown = data.clone();
    let pictures = pool_pictures(&mut shown)?;
    let json = embedded_json(&Embedded {
        data: &shown,
        pictures: &pictures,
    })?;
    environment("report.html", REPORT)?
        .get_template("report.html")?
        .render(context! {
            data => context! {
                title => &data.title, name => &data.name, description => &data.description,
                created => &data.created, version => &data.version, notes => &data.notes,
                settings => &data.settings, arms => &data.arms,
                setup => context! { encoders => &data.setup.encoders },
            },
            plain => data.test.as_ref().map(plain::plain),
            answer => answer::answer(data),
            facts => facts::facts(data),
            css => CSS,
            json => json,
            scripts => COMMON.iter().chain(&OF_A_RUN).collect::<Vec<_>>(),
        })
        .context("rendering the report")
}

/// Data of the page's script: the report with its pictures collected in one list, so that a repeated
/// picture is stored once.
#[derive(Serialize)]
struct Embedded<'a> {
    #[serde(flatten)]
    data: &'a ReportData,
    pictures: &'a [String],
}

/// Refuses data that the script cannot handle.
fn check(data: &ReportData) -> Result<()> {
    for t in &data.trajectories {
        for v in &t.validations {
            if let Some(p) = v
                .pictures
                .iter()
                .find(|p| p.prompt >= t.validation_prompts.len())
            {
                bail!(
                    "report: trajectory {:?}, step {}: a picture names validation prompt {}, of which there are {}",
                    t.id,
                    v.step,
                    p.prompt,
                    t.validation_prompts.len()
                );
            }
        }
        if !t
            .validations
            .is_sorted_by(|a, b| a.step < b.step || (a.step == b.step && !a.variant.is_empty()))
        {
            bail!(
                "report: trajectory {:?}: its validations are not in order of steps",
                t.id
            );
        }
    }
    for row in data.test.iter().flat_map(|test| &test.rows) {
        let metrics = data.test.as_ref().map_or(0, |test| test.metrics.len());
        if row.cells.len() != metrics || row.subjects.iter().any(|s| s.values.len() != metrics) {
            bail!(
                "report: test row {:?} does not have a value for each of the {metrics} metrics",
                row.id
            );
        }
    }
    Ok(())
}

/// Moves every picture into one list and replaces it by its index.
fn pool_pictures(data: &mut ReportData) -> Result<Vec<String>> {
    let mut pool = picture::Pool::default();
    for t in &mut data.trajectories {
        for p in t.references.iter_mut().chain(&mut t.negatives) {
            pool.take(p)?;
        }
        for p in t.validations.iter_mut().flat_map(|v| &mut v.strip) {
            pool.take(p)?;
        }
    }
    for p in data.samples.iter_mut().flat_map(|s| &mut s.pictures) {
        pool.take(&mut p.picture)?;
    }
    Ok(pool.into_uris())
}

/// JSON that is safe inside a script element, whatever its strings contain.
fn embedded_json(value: &impl Serialize) -> Result<String> {
    let json = serde_json::to_string(value).context("writing the report's data")?;
    Ok(json
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029"))
}

/// A template engine with a page's template and that of the plain table; it escapes everything not marked safe.
fn environment<'a>(name: &'a str, source: &'a str) -> Result<Environment<'a>> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment
        .add_template("plain.html", PLAIN)
        .and_then(|()| environment.add_template(name, source))
        .context("reading the report's template")?;
    Ok(environment)
}
