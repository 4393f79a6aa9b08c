//! A fixed number of mutated inputs for every reader, the same each time.

use std::process::Command;

/// For each reader; longer runs are started by hand (`docs/hostile.md`).
const EXECUTIONS: &str = "150";

#[test]
fn no_reader_shows_a_fault() {
    let findings = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_rpo-hostile"))
        .args([
            "all",
            "--seed",
            "1",
            "--executions",
            EXECUTIONS,
            "--findings",
        ])
        .arg(findings.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
