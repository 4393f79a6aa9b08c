//! The page: its contents, that no name can break it, and that its script selects as the program does.
//!
//! `RPO_PAGES=folder cargo test -p rpo-report --test page` also writes the pages, to view them and for
//! `scripts/browser/page.py folder/*.html`.
#![allow(
    clippy::disallowed_methods,
    reason = "a variable names a folder for pages to be looked at"
)]

mod choose;
mod invented;
mod reading;

use rpo_report::page::data::{ArmKeys, Picture, RowKind, SubjectValues};
use rpo_report::page::{self, ReportData};

/// Writes a page to the folder for pages, if there is one.
fn keep(name: &str, html: &str) {
    if let Some(folder) = std::env::var_os("RPO_PAGES") {
        std::fs::create_dir_all(&folder).expect("the folder");
        let path = std::path::Path::new(&folder).join(format!("{name}.html"));
        std::fs::write(path, html).expect("the page is written");
    }
}

/// The text between two strings.
fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let from = text.find(start).expect("the start is there") + start.len();
    &text[from..from + text[from..].find(end).expect("the end is there")]
}

fn scripts(html: &str) -> Vec<&str> {
    html.split("<script>")
        .skip(1)
        .map(|rest| &rest[..rest.find("</script>").expect("a closed script")])
        .collect()
}

#[test]
fn the_page_is_one_file_that_names_cannot_break() {
    let run = invented::run();
    let html = page::render(&run).expect("a page");
    keep("report", &html);

    // One JSON element and fourteen scripts; script tags in names and settings stay text.
    assert_eq!(html.matches("<script").count(), 15);
    assert_eq!(html.matches("</script").count(), 15);
    assert_eq!(html.matches("</pre>").count(), 1);
    assert!(html.contains("&lt;script&gt;alert(2)"));

    // Nothing is fetched: the only address is the name of SVG's namespace.
    let addresses: Vec<_> = html.match_indices("://").collect();
    assert_eq!(addresses.len(), 1);
    assert!(html.contains("http://www.w3.org/2000/svg"));
    assert!(html.contains("default-src 'none'"));

    // The script reads what was given, each distinct picture once.
    let json = between(
        &html,
        "<script type=\"application/json\" id=\"data\">",
        "</script>",
    );
    let value: serde_json::Value = serde_json::from_str(json).expect("JSON");
    assert_eq!(
        value["trajectories"][2]["subject"],
        "<script>alert(1)</script>"
    );
    assert_eq!(value["trajectories"][2]["class"], "cat & \"friend\"");
    let pictures: Vec<_> = value["pictures"]
        .as_array()
        .expect("a list")
        .iter()
        .collect();
    let mut different = pictures.clone();
    different.sort_by_key(|p| p.to_string());
    different.dedup();
    assert_eq!(pictures.len(), different.len());
    let place: usize = value["trajectories"][1]["references"][3]
        .as_str()
        .and_then(|p| p.parse().ok())
        .expect("a place in the list");
    assert_eq!(pictures[place], run.trajectories[1].references[3].uri());
}

/// Two arms and two seeds, which every section has to separate.
fn with_arms() -> ReportData {
    let mut run = invented::run();
    let once = std::mem::take(&mut run.trajectories);
    let samples = std::mem::take(&mut run.samples);
    for arm in ["λ_train = 0", "λ_train = 0.5"] {
        for seed in [0, 1] {
            for t in &once {
                let id = format!("{arm}/{}/{seed}", t.subject);
                run.samples
                    .extend(samples.iter().filter(|s| s.trajectory == t.id).map(|s| {
                        let mut s = s.clone();
                        s.trajectory.clone_from(&id);
                        for p in s.pictures.iter_mut().filter(|p| p.row != "step 0") {
                            p.row = format!("{arm}/{}", p.row);
                        }
                        s
                    }));
                let mut t = t.clone();
                (t.id, t.arm, t.seed) = (id, arm.into(), seed);
                run.trajectories.push(t);
            }
        }
    }
    run.setup.seeds = vec![0, 1];
    run.setup.cells = 33;
    run.arms = [("λ_train = 0", 0.0), ("λ_train = 0.5", 0.5)]
        .map(|(name, lambda)| ArmKeys {
            name: name.into(),
            keys: vec![
                format!("recipe.label_lambda = {lambda:.1}"),
                "training.note = \"<b>&\"".into(),
            ],
        })
        .into();
    let test = run.test.as_mut().expect("a table");
    for s in test.rows.iter_mut().flat_map(|r| &mut r.subjects) {
        s.seed = Some(0);
    }
    for row in &mut test.rows {
        let again: Vec<_> = row
            .subjects
            .iter()
            .map(|s| SubjectValues {
                seed: Some(1),
                values: s.values.iter().map(|v| v.map(|v| v * 0.985)).collect(),
                ..s.clone()
            })
            .collect();
        row.subjects.extend(again);
    }
    let own: Vec<_> = test.rows.drain(1..).collect();
    for (shift, arm) in [(0.0, "λ_train = 0"), (0.02, "λ_train = 0.5")] {
        for row in &own {
            let mut row = row.clone();
            row.id = format!("{arm}/{}", row.id);
            row.arm = arm.into();
            // The last step stays, so that arms differ in their difference to it.
            let shift = if row.kind == RowKind::Last {
                0.0
            } else {
                shift
            };
            for v in row.subjects.iter_mut().flat_map(|s| &mut s.values) {
                *v = v.map(|v| v + shift);
            }
            test.rows.push(row);
        }
    }
    for kind in &mut test.kinds {
        let own = kind.means[1..].to_vec();
        kind.means.extend(own);
    }
    invented::compare_all(test);
    run
}

#[test]
fn an_answer_stays_within_its_arm() {
    let mut run = with_arms();
    let html = page::render(&run).expect("a page");
    keep("arms", &html);
    assert!(html.contains("λ = 0.3 harmonic (λ_train = 0) chooses"));
    assert!(html.contains("8 subjects, 2 arms"));
    let first = between(&html, "Against the last step, ", "</p>").to_owned();
    // Without the first arm the answer is about the second one, against its own last step.
    let test = run.test.as_mut().expect("a table");
    test.rows.retain(|r| r.arm != "λ_train = 0");
    let html = page::render(&run).expect("a page");
    assert!(html.contains("λ = 0.3 harmonic (λ_train = 0.5) chooses"));
    assert_ne!(between(&html, "Against the last step, ", "</p>"), first);
}

#[test]
fn a_run_without_results_still_has_a_page() {
    let html = page::render(&ReportData::default()).expect("a page");
    keep("empty", &html);
    assert!(html.contains("no result to state"));
    let compared = page::compare(
        &[ReportData::default(), invented::run()],
        &["a", "b"].map(str::to_owned),
        None,
    )
    .expect("a page");
    keep("one-of-two", &compared);
    assert!(compared.contains("no result to state"));
}

#[test]
fn runs_are_compared_on_one_page() {
    let run = invented::run();
    let mut other = run.clone();
    other.title = "</script><b>other</b>".into();
    let names = ["a", "</script><b>other</b>"].map(str::to_owned);
    let html = page::compare(&[run, other], &names, None).expect("a page");
    keep("compared", &html);
    assert_eq!(html.matches("<script").count(), 8);
    assert!(!html.contains("<b>other"));
    let json = between(
        &html,
        "<script type=\"application/json\" id=\"data\">",
        "</script>",
    );
    let value: serde_json::Value = serde_json::from_str(json).expect("JSON");
    assert_eq!(value["combined"]["rows"].as_array().map(Vec::len), Some(12));
    assert_eq!(value["combined"]["rows"][6]["arm"], "</script><b>other</b>");
}

#[test]
fn contradictions_are_named() {
    let said = |change: fn(&mut ReportData)| {
        let mut run = invented::run();
        change(&mut run);
        page::render(&run).expect_err("refused").to_string()
    };
    let foreign = said(|run| {
        run.samples[0].pictures[0].picture =
            serde_json::from_str("\"https://example.org/x.png\"").expect("a string");
    });
    assert!(
        foreign.contains("is not a PNG data URI: it begins with \"https://example.org"),
        "{foreign}"
    );
    let row = said(|run| {
        run.test.as_mut().expect("a table").rows[1].cells.pop();
    });
    assert!(
        row.contains("\"harmonic-0.3\" does not have a value for each of the 6 metrics"),
        "{row}"
    );
    let prompt = said(|run| run.trajectories[0].validations[2].pictures[0].prompt = 99);
    assert!(
        prompt.contains("step 80: a picture names validation prompt 99, of which there are 4"),
        "{prompt}"
    );
    let order = said(|run| run.trajectories[0].validations.swap(0, 1));
    assert!(order.contains("not in order of steps"), "{order}");
    assert!(Picture::png(b"GIF89a").is_err());
}
