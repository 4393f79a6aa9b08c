//! The harness finds the faults that it is for.

use anyhow::{Result, bail};
use rpo_hostile::{Case, Target, Verdict, judge, listen, wrong};
use std::path::Path;

fn seeds() -> Result<Vec<Case>> {
    Ok(vec![Case::of("a.json", "{}")])
}

/// The key of the fault, or why there is none.
fn key(read: fn(&Path) -> Result<()>, verb: bool) -> String {
    listen();
    let target = Target {
        verb,
        ..Target::new("one", "a reader with a fault", seeds, read)
    };
    let folder = tempfile::tempdir().unwrap();
    let case = Case::of("a.json", "{}");
    case.write(folder.path(), &Case::default()).unwrap();
    match judge(&target, &case, folder.path()) {
        Verdict::Fault(fault) => fault.key,
        other => format!("{other:?}"),
    }
}

#[test]
fn faults_are_told_apart() {
    assert_eq!(key(|_| Ok(()), true), "Accepted");
    assert_eq!(
        key(|_| bail!("a.json: key `x`: 7 is odd"), false),
        "Refused(\"a.json: key `x`: 7 is odd\")"
    );
    assert_eq!(
        key(|_| bail!("a.json: key `x`: 7 is odd"), true),
        "exit code 1: a.json: key ``: # is odd"
    );
    assert_eq!(key(|_| bail!("7 is odd"), false), "no file named: # is odd");
    assert_eq!(key(|_| bail!(" \n"), false), "no message:  #");
    assert_eq!(
        key(|_| Err(wrong("x is not finite")), false),
        "accepted: x is not finite"
    );
    let panic = key(|_| panic!("an index"), false);
    assert!(
        panic.starts_with("panic: ") && panic.contains("judge.rs:"),
        "{panic}"
    );
}
