//! The embedded model is frozen: results must not improve by changing what is measured, or what measures it.

use rpo_micro::FILES;
use std::collections::BTreeMap;

/// The hashes in the model's README: lines of BLAKE3 and path.
fn written_down() -> BTreeMap<String, String> {
    let readme = FILES.iter().find(|f| f.path == "README.md").unwrap();
    let text = std::str::from_utf8(readme.bytes).unwrap();
    text.lines()
        .filter_map(|line| line.split_once("  "))
        .filter(|(hash, _)| hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
        // The splits have hashes, too; rpo-data's tests hold them.
        .filter(|(_, path)| path.contains('.'))
        .map(|(hash, path)| (path.to_owned(), hash.to_owned()))
        .collect()
}

#[test]
fn frozen_files_have_the_hashes_that_are_written_down() {
    let written = written_down();
    let files: Vec<_> = FILES.iter().filter(|f| f.path != "README.md").collect();
    assert_eq!(files.len(), written.len());
    for file in files {
        let hash = blake3::hash(file.bytes).to_hex().to_string();
        let was = written.get(file.path).map(String::as_str);
        assert_eq!(
            was,
            Some(hash.as_str()),
            "{}: frozen; the embedded model is changed in a release that says so and measures everything anew",
            file.path
        );
    }
}
