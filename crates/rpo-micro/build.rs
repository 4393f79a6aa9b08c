//! Lists the files of `assets/micro` for `include_bytes!`.
#![allow(
    clippy::disallowed_methods,
    reason = "cargo tells a build script its folders in variables"
)]

use std::fmt::Write;
use std::path::{Path, PathBuf};

fn main() {
    let variable = |name: &str| PathBuf::from(std::env::var_os(name).expect("cargo sets it"));
    let model = variable("CARGO_MANIFEST_DIR").join("../../assets/micro");
    let mut files = Vec::new();
    walk(&model, "", &mut files);
    files.sort();
    let mut list = String::from("&[\n");
    for (name, path) in &files {
        let path = path.to_str().expect("the source folder's path is UTF-8");
        writeln!(
            list,
            "    File {{ path: {name:?}, bytes: include_bytes!({path:?}) }},"
        )
        .expect("a string takes everything");
    }
    list.push_str("]\n");
    std::fs::write(variable("OUT_DIR").join("files.rs"), list).expect("cargo's folder for it");
}

/// Adds the files below `folder` with their names relative to the model's folder. Hidden files of file managers and editors are
/// not part of the model.
fn walk(folder: &Path, prefix: &str, files: &mut Vec<(String, PathBuf)>) {
    println!("cargo:rerun-if-changed={}", folder.display());
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for entry in entries {
        let path = entry.expect("a folder that can be read").path();
        let name = path.file_name().unwrap_or_default();
        let name = name.to_str().expect("the model's names are ASCII");
        // Neither are unfinished files of a killed program.
        if name.starts_with('.') || name.ends_with(".part") {
            continue;
        }
        if path.is_dir() {
            walk(&path, &format!("{prefix}{name}/"), files);
        } else {
            println!("cargo:rerun-if-changed={}", path.display());
            files.push((format!("{prefix}{name}"), path));
        }
    }
}
