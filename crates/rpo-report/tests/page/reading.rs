//! What readers without the script, without a mouse, or of a part of the pictures are told.

use std::collections::BTreeSet;

use rpo_report::page;

use crate::{between, invented, with_arms};

/// The values of an attribute, in order.
fn values<'a>(html: &'a str, attribute: &str) -> Vec<&'a str> {
    let start = format!(" {attribute}=\"");
    let found = html.split(start.as_str()).skip(1);
    found.filter_map(|rest| rest.split('"').next()).collect()
}

/// The page without its scripts and data.
fn markup(html: &str) -> &str {
    &html[..html.find("<script").expect("a script")]
}

#[test]
fn the_contents_lead_to_headings() {
    let html = page::render(&with_arms()).expect("a page");
    let html = markup(&html);
    let nav = between(html, "<nav id=\"contents\"", "</nav>");
    let sections = html.matches("<h2 ").count();
    let links = values(nav, "href");
    assert_eq!(links.len(), sections, "every section is in the contents");
    for link in links.iter().chain(&["#results"]) {
        let heading = format!("<h2 id=\"{}\"", &link[1..]);
        assert!(html.contains(&heading), "{link} leads to no heading");
    }
    // The first thing that the keyboard reaches.
    let body = between(html, "<body>", "<header>");
    assert!(
        body.contains("<a class=\"skip\" href=\"#results\">"),
        "{body}"
    );
    let named = values(html, "id");
    let different: BTreeSet<_> = named.iter().collect();
    assert_eq!(named.len(), different.len(), "names are used twice");
    for heading in html.split("<h3").skip(1) {
        assert!(heading.starts_with(" id=\""), "a heading without a name");
    }
}

#[test]
fn results_are_there_without_the_script() {
    let run = with_arms();
    let test = run.test.as_ref().expect("a table");
    let html = page::render(&run).expect("a page");
    let table = between(
        markup(&html),
        "<table class=\"plain unscripted\">",
        "</table>",
    );
    assert_eq!(table.matches("<tr>").count(), 1 + test.rows.len());
    assert_eq!(
        table.matches("<td>").count(),
        test.rows.len() * test.metrics.len()
    );
    assert!(table.contains("difference to “step 0, the base model”"));
    assert!(table.contains("λ_train = 0.5 · λ = 0.3 harmonic"));
    let cell = &test.rows[1].cells[0];
    let mean = format!("<td>{:.3} [", cell.mean.expect("a mean"));
    assert!(table.contains(&mean), "{mean} is not in {table}");
    // What only the script fills is not there, in the contents either.
    assert!(html.contains("<noscript><style>.needs-trajectory { display: none"));
    let nav = between(markup(&html), "<nav id=\"contents\"", "</nav>");
    assert_eq!(
        nav.matches("<li>").count(),
        2,
        "the results and the settings"
    );
    // Of both kinds of pages.
    let compared =
        page::compare(&[run.clone(), run], &["a", "b"].map(str::to_owned), None).expect("a page");
    let tables = markup(&compared).matches("<table class=\"plain unscripted\">");
    assert_eq!(tables.count(), 3, "all rows, and those of each run");
}

#[test]
fn arms_say_what_they_change() {
    let html = page::render(&with_arms()).expect("a page");
    let table = between(markup(&html), "<h3 id=\"arms\">", "</table>");
    assert!(
        table.contains("<code>recipe.label_lambda = 0.5</code>"),
        "{table}"
    );
    assert!(table.contains("&lt;b&gt;&amp;"), "keys are text");
    let html = page::render(&invented::run()).expect("a page");
    assert!(!html.contains("<h3 id=\"arms\">"), "there are no arms");
}

/// A report as earlier versions wrote it: two baselines, and none of the newer fields.
#[test]
fn an_older_report_still_has_a_page() {
    let mut value = serde_json::to_value(invented::run()).expect("JSON");
    let report = value.as_object_mut().expect("an object");
    report.remove("arms");
    report["setup"]
        .as_object_mut()
        .expect("an object")
        .remove("cells");
    let test = report["test"].as_object_mut().expect("an object");
    test.remove("baseline");
    test.remove("kinds");
    for row in test["rows"].as_array_mut().expect("a list") {
        for subject in row["subjects"].as_array_mut().expect("a list") {
            subject.as_object_mut().expect("an object").remove("seed");
        }
        for cell in row["cells"].as_array_mut().expect("a list") {
            let differences = cell["differences"].as_array_mut().expect("a list");
            differences.retain(|d| d["against"] == "step 0" || d["against"] == "last");
            for d in differences {
                let kept = ["against", "mean", "interval", "p_holm"];
                d.as_object_mut()
                    .expect("an object")
                    .retain(|key, _| kept.contains(&key.as_str()));
            }
        }
    }
    // Scores that hardly differ, whose axes need many digits.
    for t in report["trajectories"].as_array_mut().expect("a list") {
        for v in t["validations"].as_array_mut().expect("a list") {
            for p in v["pictures"].as_array_mut().expect("a list") {
                for key in ["image", "text"] {
                    p[key] = (0.62955 + 1e-5 * p[key].as_f64().expect("a number")).into();
                }
            }
        }
    }
    for row in report["samples"].as_array_mut().expect("a list") {
        for sample in row["pictures"].as_array_mut().expect("a list") {
            sample.as_object_mut().expect("an object").remove("row");
        }
    }
    let run = serde_json::from_value(value).expect("an older report");
    let html = page::render(&run).expect("a page");
    crate::keep("older", &html);
    assert!(html.contains("difference to “step 0, the base model”"));
}
