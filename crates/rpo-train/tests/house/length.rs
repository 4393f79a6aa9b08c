//! A file holds one concept, which fits into 400 lines.

use std::path::{Path, PathBuf};

const LINES: usize = 400;

#[test]
fn no_file_is_longer_than_it_can_be_read() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let files = rust_files(&crates);
    assert!(files.len() > 200, "the workspace was not read");
    let mut long = String::new();
    for file in &files {
        let text = std::fs::read_to_string(file).expect("a text");
        let lines = text.lines().count();
        if lines > LINES {
            let name = file.strip_prefix(&crates).expect("below crates/").display();
            long += &format!("\n    {name}: {lines}");
        }
    }
    assert!(
        long.is_empty(),
        "files of more than {LINES} lines, to be split by concept:{long}"
    );
}

/// All Rust files below `folder`, in order.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = open.pop() {
        let entries = std::fs::read_dir(&folder).expect("a folder");
        for entry in entries {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
