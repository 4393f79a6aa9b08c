//! The event file against one verified with the `tensorboard` package (`scripts/golden/tensorboard_read.py`).
//!
//! `RPO_EVENTS_TO=DIR cargo test -p rpo-report --test tensorboard` writes the file again, to be read there.
#![allow(
    clippy::disallowed_methods,
    reason = "a variable names a file to be looked at"
)]

use std::path::{Path, PathBuf};

use rpo_report::tensorboard::EventWriter;

/// A 2 x 3 RGB picture.
const PNG: &[u8] = include_bytes!("golden/two_by_three.png");

fn write(dir: &Path) -> PathBuf {
    let clock = 1_700_000_000.25;
    let mut events = EventWriter::create(dir, clock).expect("a file");
    events
        .scalar("owl/l_sim", 1, 0.125, clock + 1.0)
        .expect("written");
    events
        .scalar("owl/l_sim", 2, -1e-3, clock + 2.0)
        .expect("written");
    events
        .scalar("löss/λ", 2, f64::NAN, clock + 2.0)
        .expect("written");
    events
        .image("owl/in a library", 300, PNG, clock + 3.5)
        .expect("written");
    events.flush().expect("flushed");
    events.path().to_path_buf()
}

#[test]
fn the_bytes_are_those_that_tensorboard_has_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = write(folder.path());
    if let Some(dir) = std::env::var_os("RPO_EVENTS_TO") {
        write(Path::new(&dir));
    }
    assert_eq!(
        path.file_name().and_then(|n| n.to_str()),
        Some("events.out.tfevents.1700000000.rpo")
    );
    let written = std::fs::read(&path).expect("read");
    assert_eq!(written, include_bytes!("golden/events.tfevents"));
}

#[test]
fn what_is_no_picture_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut events = EventWriter::create(folder.path(), 0.0).expect("a file");
    let error = events
        .image("owl/strip", 40, b"\x89PNG\r\n\x1a\n short", 0.0)
        .expect_err("refused");
    assert_eq!(
        error.to_string(),
        "TensorBoard events: picture \"owl/strip\" of step 40 is not a PNG file"
    );
}
