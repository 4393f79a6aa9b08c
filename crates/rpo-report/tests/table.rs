//! The table: averages, comparisons, corrections, notes about equal rows, and the formats.

use std::collections::BTreeMap;

use rpo_experiment::Published;
use rpo_report::table::{Arm, Cost, MOST_PAIRED, Metric, Settings, Table};
use rpo_stats::{Interval, Sample, holm};

fn build(metrics: Vec<Metric>, arms: &[Arm], against: &[&str]) -> anyhow::Result<Table> {
    let settings = Settings {
        baselines: against.iter().map(|name| (*name).to_owned()).collect(),
        margin: 0.01,
    };
    Table::build("t", metrics, arms, &settings)
}

fn metrics() -> Vec<Metric> {
    vec![
        Metric::new("ViT-I", "micro eval_dino"),
        Metric::new("CLIP-T", "micro eval_clip, token removed"),
    ]
}

/// An arm whose subjects have the given values in the first metric and twice that in the second, two pictures each.
fn arm(name: &str, step: usize, subjects: &[(&str, f64)]) -> Arm {
    let samples = |factor: f64| -> Vec<Sample> {
        let of_subject = |&(subject, value): &(&str, f64)| {
            [-0.0625, 0.0625].map(|d| Sample {
                subject: subject.to_owned(),
                pair: "0".to_owned(),
                prompt: "p".to_owned(),
                value: factor * (value + d),
            })
        };
        subjects.iter().flat_map(of_subject).collect()
    };
    let chosen: BTreeMap<String, String> = subjects
        .iter()
        .map(|&(subject, _)| (format!("{subject}/0"), format!("t@{step}")))
        .collect();
    Arm {
        name: name.to_owned(),
        arm: "the arm".to_owned(),
        rule: name.to_owned(),
        chosen,
        samples: vec![samples(1.0), samples(2.0)],
    }
}

fn arms() -> [Arm; 4] {
    [
        arm("step 0", 0, &[("cat", 0.25), ("dog", 0.5), ("fox", 0.375)]),
        arm("h.3", 40, &[("cat", 0.5), ("dog", 0.625), ("fox", 0.5)]),
        arm("h.5", 40, &[("cat", 0.5), ("dog", 0.625), ("fox", 0.5)]),
        arm("last", 80, &[("cat", 0.25), ("dog", 0.625), ("fox", 0.25)]),
    ]
}

#[test]
fn cells_are_paired_by_subject_and_corrected_over_rows() {
    let table = build(metrics(), &arms(), &["step 0"]).unwrap();
    let cell = &table.rows[1].cells[0];
    assert_eq!(cell.mean, Interval::of(&[0.5, 0.625, 0.5]).unwrap());
    // The unit is the subject: three, not six pictures.
    let first = cell.against("step 0").unwrap();
    assert_eq!(
        first.difference,
        Interval::of(&[0.25, 0.125, 0.125]).unwrap()
    );
    let compared = table.compared("step 0", 0);
    let names: Vec<&str> = compared.iter().map(|(row, _)| row.name.as_str()).collect();
    assert_eq!(names, ["h.3", "h.5", "last"]);
    let of = |p: fn(&rpo_stats::Comparison) -> Option<f64>| -> Vec<Option<f64>> {
        compared.iter().map(|(_, c)| p(c)).collect()
    };
    assert_eq!(of(|c| c.p_holm), holm(&of(|c| c.difference.p)));
    assert_eq!(of(|c| c.p_permutation_holm), holm(&of(|c| c.p_permutation)));
    // All three differences are positive: 2 of 8 assignments of signs are as far from 0.
    assert_eq!((first.p_permutation, first.improved), (Some(0.25), Some(3)));
    assert_eq!(
        (first.worst_tenth, first.equivalence.unwrap().margin),
        (Some(0.125), 0.01)
    );
    // Twice the values: twice the differences, the same p.
    let other = table.rows[1].cells[1].against("step 0").unwrap();
    assert_eq!(other.difference.mean, 2.0 * first.difference.mean);
    assert!((other.p_holm.unwrap() - first.p_holm.unwrap()).abs() < 1e-12);
}

/// What stands beside the results: costs by arm, and published rows that are no rows.
#[test]
fn costs_and_published_rows_stand_beside_the_results() {
    let mut table = build(metrics(), &arms(), &["step 0"]).unwrap();
    let before = (table.to_text(), table.to_csv().unwrap());
    let cost = |arm: &str, parameters| Cost {
        arm: arm.to_owned(),
        backbone: "micro".to_owned(),
        trains: "a LoRA".to_owned(),
        iterations: 200,
        steps: 140.0,
        pictures: 32,
        forwards: 5120.4,
        seconds: Some(61.7),
        parameters,
        bytes: Some(24_300_000),
    };
    table.beside.costs = vec![
        cost("rpo", Some(163_840)),
        cost("an arm with a long name, and more", None),
    ];
    table.beside.published = vec![Published {
        name: "SuTI".to_owned(),
        backbone: "Imagen".to_owned(),
        iterations: Some(0),
        dino: Some(0.741),
        source: "SFO".to_owned(),
        ..Published::default()
    }];
    let text = table.to_text();
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    for line in [
        "cost of one subject              steps  pictures  forwards    params      file",
        "rpo                                140        32      5120    163.8k    24.3MB",
        "SuTI (Imagen)                       0.741                                0",
        "SuTI: SFO",
    ] {
        assert!(text.contains(line), "no {line:?} in\n{text}");
    }
    // Times are in costs.csv alone.
    assert!(!table.to_json().unwrap().contains("seconds"));
    // They change no figure and no comparison.
    assert_eq!(table.to_csv().unwrap(), before.1);
    assert!(!before.0.contains("published") && !before.0.contains("cost"));
    let costs = table.costs_csv().unwrap();
    assert_eq!(costs.lines().count(), 3);
    assert!(
        costs.contains("rpo,micro,a LoRA,200,140,32,5120.4,61.7,163840,24300000"),
        "{costs}"
    );
}

#[test]
fn every_row_is_compared_with_every_other() {
    let table = build(metrics(), &arms(), &["step 0"]).unwrap();
    for row in &table.rows {
        for other in table.rows.iter().filter(|other| other.name != row.name) {
            for (m, cell) in row.cells.iter().enumerate() {
                let there = cell.against(&other.name).unwrap();
                let back = other.cells[m].against(&row.name).unwrap();
                assert_eq!(there.difference.mean, -back.difference.mean);
                assert_eq!(there.p_permutation, back.p_permutation);
                assert_eq!(there.difference.p, back.difference.p);
            }
        }
    }
    // Of very many rows each is compared with the baseline only.
    let many: Vec<Arm> = (0..=MOST_PAIRED)
        .map(|i| {
            arm(
                &format!("r{i}"),
                i,
                &[("cat", 0.25), ("dog", 0.5 + i as f64)],
            )
        })
        .collect();
    let table = build(metrics(), &many, &["r3"]).unwrap();
    let count = |row: usize| table.rows[row].cells[0].comparisons.len();
    assert_eq!((count(0), count(3)), (1, 0));
    assert!(
        table.notes[0].contains("with the baseline only"),
        "{:?}",
        table.notes
    );
}

#[test]
fn rows_are_compared_on_what_both_have() {
    let uneven = [
        arm("a", 0, &[("cat", 0.5), ("dog", 0.25)]),
        arm("b", 0, &[("dog", 0.5), ("fox", 0.5)]),
        arm("c", 0, &[("owl", 0.5)]),
    ];
    let table = build(metrics(), &uneven, &["a"]).unwrap();
    let found = table.rows[1].cells[0].against("a").unwrap();
    assert_eq!((found.difference.n, found.difference.mean), (1, 0.25));
    assert!(table.rows[2].cells[0].comparisons.is_empty());
}

#[test]
fn arms_with_the_same_checkpoints_are_said_to_be_one() {
    let table = build(metrics(), &arms(), &["h.3", "step 0"]).unwrap();
    let same = table.rows[2].cells[0].against("h.3").unwrap();
    assert_eq!(
        (same.p_permutation, same.difference.p, same.p_holm),
        (Some(1.0), Some(1.0), Some(1.0))
    );
    assert!(
        table
            .shared
            .contains(&"h.5 and h.3: same checkpoint in 3 of 3, so p = 1".to_owned())
            && table.shared.len() == 1,
        "{:?}",
        table.shared
    );
    assert!(table.to_text().contains("same"));
    assert_eq!(table.family("h.3", 0), 2);
    // The equal arm is not tested: the family of h.3 is step 0 and last.
    let p = |row: usize| table.rows[row].cells[0].against("h.3").unwrap();
    let family = holm(&[p(0).difference.p, p(3).difference.p]);
    assert_eq!([p(0).p_holm, p(3).p_holm], [family[0], family[1]]);
    // Equal names of checkpoints with unequal values are no reason to claim p = 1.
    let mut wrong = arms();
    wrong[2].samples[0][0].value += 0.1;
    let table = build(metrics(), &wrong, &["h.3"]).unwrap();
    assert!(
        table
            .notes
            .iter()
            .any(|note| note.contains("yet the figures differ")),
        "{:?}",
        table.notes
    );
    assert_ne!(
        table.rows[2].cells[0].against("h.3").unwrap().p_holm,
        Some(1.0)
    );
}

#[test]
fn one_subject_has_no_interval_and_says_so() {
    let arms = [
        arm("step 0", 0, &[("cat", 0.25)]),
        arm("h.3", 40, &[("cat", 0.5)]),
        arm("h.5", 40, &[("cat", 0.5)]),
    ];
    let table = build(metrics(), &arms, &["step 0", "h.3"]).unwrap();
    let cell = &table.rows[1].cells[0];
    let first = cell.against("step 0").unwrap();
    assert_eq!((cell.mean.interval, first.difference.p), (None, None));
    assert_eq!((first.p_holm, first.p_permutation), (None, None));
    assert_eq!(
        table.rows[2].cells[0].against("h.3").unwrap().p_holm,
        Some(1.0)
    );
    assert!(table.notes[0].starts_with("one subject"));
    assert!(!table.to_text().contains("NaN") && !table.to_csv().unwrap().contains("NaN"));
}

#[test]
fn the_text_fits_80_columns() {
    let mut named = arms();
    named[1].name = "L_sim + L_pref with a name that is long · harmonic λ_val 0.3".to_owned();
    let mut table = build(metrics(), &named, &["step 0"]).unwrap();
    table.title = "Table 3: ".to_owned() + &"a long description ".repeat(12);
    table.notes.push("n ".repeat(100));
    let text = table.to_text();
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let has = |line: &str| assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    has("mean ± 95 %                             ViT-I         CLIP-T");
    has("step 0                           0.375 ±0.311   0.750 ±0.621");
    has("ViT-I minus step 0");
    has("                                 diff.               95 %       p   perm. better");
    has("last                            +0.000   [-0.311, +0.311]   1.000   1.000    1/3");
    // A long name has a line of its own.
    has("L_sim + L_pref with a name that is long · harmonic λ_val 0.3");
    has("                                +0.167   [-0.013, +0.346]   0.172   0.750    3/3");
    assert!(
        text.contains("CLIP-T: micro eval_clip, token removed"),
        "{text}"
    );
}

#[test]
fn equality_is_said_where_it_is_shown() {
    let of = |d: f64| {
        let values = |d: f64| {
            [
                ("cat", 0.5 + d),
                ("dog", 0.25),
                ("fox", 0.75),
                ("owl", 0.5 - d),
            ]
        };
        let arms = [arm("a", 0, &values(0.0)), arm("b", 20, &values(d))];
        build(metrics(), &arms, &["a"]).unwrap().to_text()
    };
    assert!(
        of(0.001).contains("Equal to a within ± 0.01 in ViT-I"),
        "{}",
        of(0.001)
    );
    assert!(!of(0.1).contains("Equal to"), "{}", of(0.1));
}

#[test]
fn csv_json_and_latex_hold_all_of_it() {
    let mut with_comma = arms();
    with_comma[3].rule = "last, \"all\" steps".to_owned();
    with_comma[2].name = "50 % & λ_val".to_owned();
    with_comma[1].name = "[v] *".to_owned();
    let table = build(metrics(), &with_comma, &["step 0"]).unwrap();
    let read = |text: &str| -> Vec<Vec<String>> {
        let mut csv = csv::ReaderBuilder::new()
            .has_headers(false)
            .from_reader(text.as_bytes());
        let records = csv
            .records()
            .map(|r| r.unwrap().iter().map(str::to_owned).collect());
        records.collect()
    };
    let lines = read(&table.to_csv().unwrap());
    // A header, one line for each row in each metric.
    assert_eq!(lines.len(), 1 + 4 * 2);
    let value = |line: usize, name: &str| {
        let column = lines[0].iter().position(|c| c == name).unwrap();
        lines[line][column].clone()
    };
    assert_eq!(value(7, "rule"), "last, \"all\" steps");
    assert_eq!(
        (value(1, "against"), value(3, "against")),
        (String::new(), "step 0".to_owned())
    );
    assert_eq!(
        (value(3, "improved"), value(3, "p_permutation")),
        ("3".to_owned(), "0.25".to_owned())
    );
    let of_subjects = read(&table.subjects_csv().unwrap());
    assert_eq!(of_subjects.len(), 1 + 4 * 3 * 2);
    assert_eq!(of_subjects[1][..4], ["the arm", "step 0", "cat", "0"]);
    assert_eq!((&*of_subjects[1][4], &*of_subjects[1][7]), ("t@0", "0.25"));
    let json = table.to_json().unwrap();
    let again: Table = serde_json::from_str(&json).unwrap();
    // Twelve places: serde_json without `float_roundtrip` may read a number one ulp off.
    assert_eq!(format!("{again:.12?}"), format!("{table:.12?}"));
    let latex = table.to_latex();
    assert!(
        latex.contains("    50 \\% \\& $\\lambda$\\_val & $\\mathbf{0.542} \\pm "),
        "{latex}"
    );
    // Two rows share the best mean of each of the two metrics.
    assert_eq!(latex.matches("\\mathbf{").count(), 4, "{latex}");
    assert!(latex.contains("    {[}v{]} {*} & "), "{latex}");
    assert!(
        latex.contains("ViT-I $\\uparrow$") && !latex.contains("^{*} \\pm"),
        "{latex}"
    );
}

#[test]
fn mistakes_are_named() {
    let twice = [arm("a", 0, &[("cat", 0.5)]), arm("a", 0, &[("cat", 0.5)])];
    let message = |result: anyhow::Result<Table>| format!("{:#}", result.unwrap_err());
    assert!(message(build(metrics(), &twice, &[])).contains("two rows are named `a`"));
    assert!(
        message(build(metrics(), &arms(), &["step 1"])).contains("`step 1` is not among the rows")
    );
    let mut short = arms();
    short[1].samples.pop();
    assert!(message(build(metrics(), &short, &[])).contains("samples of 1 metrics"));
    let mut broken = arms();
    broken[1].samples[1][0].value = f64::NAN;
    assert!(message(build(metrics(), &broken, &[])).contains("row `h.3`"));
    let mut empty = arms();
    empty[1].samples[1].clear();
    assert!(message(build(metrics(), &empty, &[])).contains("no values"));
}
