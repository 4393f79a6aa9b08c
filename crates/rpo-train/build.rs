//! The program's version with the commit it was built from, if the source is a clone.
//!
//! Only in release builds, as `cargo install` makes them: in development a new commit would build the program and its tests anew.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let package = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let built = match release {
        false => "development build".to_owned(),
        true => {
            for name in ["HEAD", "logs/HEAD"] {
                if let Some(path) = git(&["rev-parse", "--git-path", name]) {
                    println!("cargo::rerun-if-changed={path}");
                }
            }
            git(&[
                "describe",
                "--always",
                "--dirty",
                "--abbrev=12",
                "--exclude=*",
            ])
            .map_or("commit unknown".to_owned(), |commit| {
                format!("commit {commit}")
            })
        }
    };
    println!("cargo::rustc-env=RPO_VERSION={package} ({built})");
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && !text.is_empty()).then(|| text.to_owned())
}
