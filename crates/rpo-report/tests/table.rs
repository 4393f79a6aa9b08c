//! The table: averages, comparisons, corrections, notes about equal arms, and the three formats.

use std::collections::BTreeMap;

use rpo_report::table::{Arm, Metric, Table};
use rpo_stats::{Interval, Sample, holm};

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
fn cells_are_paired_by_subject_and_corrected_over_arms() {
    let table = Table::build("t", metrics(), &arms(), &["step 0"]).unwrap();
    let cell = &table.rows[1].cells[0];
    assert_eq!(cell.mean, Interval::of(&[0.5, 0.625, 0.5]).unwrap());
    // The unit is the subject: three, not six pictures.
    assert_eq!(
        cell.comparisons[0].difference,
        Interval::of(&[0.25, 0.125, 0.125]).unwrap()
    );
    let p: Vec<Option<f64>> = table.rows[1..]
        .iter()
        .map(|row| row.cells[0].comparisons[0].difference.p)
        .collect();
    let adjusted: Vec<Option<f64>> = table.rows[1..]
        .iter()
        .map(|row| row.cells[0].comparisons[0].p_holm)
        .collect();
    assert_eq!(adjusted, holm(&p));
    assert!(table.rows[0].cells[0].comparisons.is_empty());
    // Twice the values: twice the differences, the same p.
    let other = &table.rows[1].cells[1].comparisons[0];
    assert_eq!(
        other.difference.mean,
        2.0 * cell.comparisons[0].difference.mean
    );
    assert!((other.p_holm.unwrap() - cell.comparisons[0].p_holm.unwrap()).abs() < 1e-12);
}

#[test]
fn arms_with_the_same_checkpoints_are_said_to_be_one() {
    let table = Table::build("t", metrics(), &arms(), &["h.3", "step 0"]).unwrap();
    let same = &table.rows[2].cells[0].comparisons[0];
    assert_eq!(
        (same.against.as_str(), same.difference.p, same.p_holm),
        ("h.3", Some(1.0), Some(1.0))
    );
    assert!(
        table
            .shared
            .contains(&"h.5 and h.3: same checkpoint in 3 of 3, so p = 1".to_owned()),
        "{:?}",
        table.shared
    );
    assert!(table.to_text().contains("same"));
    // The equal arm is not tested: the family of h.3 is step 0 and last.
    let p = |row: usize| {
        table.rows[row].cells[0]
            .comparisons
            .iter()
            .find(|c| c.against == "h.3")
            .unwrap()
    };
    let family = holm(&[p(0).difference.p, p(3).difference.p]);
    assert_eq!([p(0).p_holm, p(3).p_holm], [family[0], family[1]]);
    // Equal names of checkpoints with unequal values are no reason to claim p = 1.
    let mut wrong = arms();
    wrong[2].samples[0][0].value += 0.1;
    let table = Table::build("t", metrics(), &wrong, &["h.3"]).unwrap();
    assert!(
        table
            .notes
            .iter()
            .any(|note| note.contains("yet the figures differ")),
        "{:?}",
        table.notes
    );
    assert_ne!(table.rows[2].cells[0].comparisons[0].p_holm, Some(1.0));
}

#[test]
fn one_subject_has_no_interval_and_says_so() {
    let arms = [
        arm("step 0", 0, &[("cat", 0.25)]),
        arm("h.3", 40, &[("cat", 0.5)]),
        arm("h.5", 40, &[("cat", 0.5)]),
    ];
    let table = Table::build("t", metrics(), &arms, &["step 0", "h.3"]).unwrap();
    let cell = &table.rows[1].cells[0];
    assert_eq!(
        (
            cell.mean.interval,
            cell.comparisons[0].difference.p,
            cell.comparisons[0].p_holm
        ),
        (None, None, None)
    );
    assert_eq!(table.rows[2].cells[0].comparisons[1].p_holm, Some(1.0));
    assert!(table.notes[0].starts_with("one subject"));
    assert!(!table.to_text().contains("NaN") && !table.to_csv().contains("NaN"));
}

#[test]
fn the_text_is_aligned_and_names_the_encoders() {
    let text = Table::build("Table 3", metrics(), &arms(), &["step 0"])
        .unwrap()
        .to_text();
    let expected = "\
Table 3

mean ± 95 % (std)          ViT-I         CLIP-T
step 0             0.375 ± 0.311  0.750 ± 0.621
";
    let head: String = text
        .lines()
        .take(4)
        .map(|line| line.trim_end().to_owned() + "\n")
        .collect();
    let plain = head.replace(" (0.125)", "").replace(" (0.250)", "");
    let squeeze = |s: &str| s.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(squeeze(&plain), squeeze(expected), "{text}");
    let block: Vec<usize> = text
        .lines()
        .skip(2)
        .take(5)
        .map(|line| line.chars().count())
        .collect();
    assert!(block.iter().all(|&width| width == block[0]), "{text}");
    assert!(
        text.contains("minus step 0") && text.contains("CLIP-T: micro eval_clip, token removed"),
        "{text}"
    );
}

#[test]
fn csv_and_json_hold_all_of_it() {
    let mut with_comma = arms();
    with_comma[3].name = "last, \"all\" steps".to_owned();
    let table = Table::build("t", metrics(), &with_comma, &["step 0"]).unwrap();
    let csv = table.to_csv();
    let lines: Vec<&str> = csv.lines().collect();
    // A header, one line for the baseline and three arms in each metric.
    assert_eq!(lines.len(), 1 + 4 * 2);
    assert!(
        lines[7].starts_with("\"last, \"\"all\"\" steps\",ViT-I,micro eval_dino,3,0.375,"),
        "{}",
        lines[7]
    );
    let plain: Vec<&&str> = lines.iter().filter(|line| !line.contains('"')).collect();
    assert!(
        plain.iter().all(|line| line.matches(',').count() == 15),
        "{csv}"
    );
    let json = table.to_json().unwrap();
    let read: Table = serde_json::from_str(&json).unwrap();
    // Twelve places: serde_json without `float_roundtrip` may read a number one ulp off.
    assert_eq!(format!("{read:.12?}"), format!("{table:.12?}"));
}

#[test]
fn mistakes_are_named() {
    let twice = [arm("a", 0, &[("cat", 0.5)]), arm("a", 0, &[("cat", 0.5)])];
    let message = |result: anyhow::Result<Table>| format!("{:#}", result.unwrap_err());
    assert!(message(Table::build("t", metrics(), &twice, &[])).contains("two arms are named `a`"));
    assert!(
        message(Table::build("t", metrics(), &arms(), &["step 1"]))
            .contains("`step 1` is not among the arms")
    );
    let uneven = [arm("a", 0, &[("cat", 0.5)]), arm("b", 0, &[("dog", 0.5)])];
    let error = message(Table::build("t", metrics(), &uneven, &["a"]));
    assert!(
        error.contains("metric ViT-I") && error.contains("arm `b` against `a`"),
        "{error}"
    );
    let mut short = arms();
    short[1].samples.pop();
    assert!(message(Table::build("t", metrics(), &short, &[])).contains("samples of 1 metrics"));
    let mut broken = arms();
    broken[1].samples[1][0].value = f64::NAN;
    assert!(message(Table::build("t", metrics(), &broken, &[])).contains("arm `h.3`"));
    let mut empty = arms();
    empty[1].samples[1].clear();
    assert!(message(Table::build("t", metrics(), &empty, &[])).contains("no values"));
}
