//! Writes event files.

use super::event::{Event, Image, START, SessionLog, Summary, SummaryValue, Value, What};
use super::kept::{LARGEST, name, number};
use super::record::record;
use anyhow::{Context, Result, bail};
use prost::Message;
use rpo_files::AtPath;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Writes one event file.
///
/// Events reach the file with [`EventWriter::flush`], and when the writer is dropped. They are appended in whole: after a failed
/// flush the file ends with the last event of the one before.
pub struct EventWriter {
    file: File,
    path: PathBuf,
    pending: Vec<u8>,
    whole: u64,
}

impl EventWriter {
    /// Creates `events.out.tfevents.<clock>.rpo` in `dir`, which is made if needed. The number is raised above those of the files
    /// that are there: TensorBoard reads files in the order of their names, and no file is replaced.
    ///
    /// # Errors
    /// If `clock` is not a valid time; I/O errors.
    pub fn create(dir: &Path, clock: f64) -> Result<Self> {
        if !(0.0..LARGEST as f64).contains(&clock) {
            bail!("TensorBoard events: {clock} is no time in seconds since 1970");
        }
        fs::create_dir_all(dir).writing(dir)?;
        let there = fs::read_dir(dir).reading(dir)?.flatten();
        let newest = there.filter_map(|e| number(&e.file_name())).max();
        let mut next = newest.map_or(0, |n| n + 1).max(clock as u64);
        let (file, path) = loop {
            let path = dir.join(name(next));
            match File::options().append(true).create_new(true).open(&path) {
                Ok(file) => break (file, path),
                // Another program was faster.
                Err(e) if e.kind() == ErrorKind::AlreadyExists && next < LARGEST => next += 1,
                failed => drop(failed.writing(&path)?),
            }
        };
        let mut writer = Self {
            file,
            path,
            pending: Vec::new(),
            whole: 0,
        };
        writer.write(clock, 0, What::FileVersion("brain.Event:2".into()))?;
        Ok(writer)
    }

    /// Path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// From here on this file replaces what earlier ones have of `step` and later steps.
    ///
    /// # Errors
    /// If the step is too large.
    pub fn restart(&mut self, step: usize, clock: f64) -> Result<()> {
        self.write(clock, step, What::SessionLog(SessionLog { status: START }))
    }

    /// Adds a number under `tag`, e.g. `owl/l_sim`; a slash makes a group of charts.
    ///
    /// # Errors
    /// If the step is too large.
    pub fn scalar(&mut self, tag: &str, step: usize, value: f64, clock: f64) -> Result<()> {
        // The format has single precision; NaN is allowed and shown as a gap.
        self.summary(tag, step, Value::Simple(value as f32), clock)
    }

    /// Adds a picture under `tag`, given as the bytes of a PNG file.
    ///
    /// # Errors
    /// When the bytes are no PNG file, or the step is too large.
    pub fn image(&mut self, tag: &str, step: usize, png: &[u8], clock: f64) -> Result<()> {
        let Some((width, height, colorspace)) = png_header(png) else {
            bail!("TensorBoard events: picture {tag:?} of step {step} is not a PNG file");
        };
        let image = Image {
            height,
            width,
            colorspace,
            encoded: png.to_vec(),
        };
        self.summary(tag, step, Value::Image(image), clock)
    }

    /// Appends all events so far to the file.
    ///
    /// # Errors
    /// When the file cannot be written; these events are then lost.
    pub fn flush(&mut self) -> Result<()> {
        let bytes = std::mem::take(&mut self.pending);
        let written = self.file.write_all(&bytes);
        if written.is_err() {
            // A part of an event would hide those after it.
            let _ = self.file.set_len(self.whole);
        }
        written.writing(&self.path)?;
        self.whole += bytes.len() as u64;
        Ok(())
    }

    fn summary(&mut self, tag: &str, step: usize, value: Value, clock: f64) -> Result<()> {
        let value = SummaryValue {
            tag: tag.into(),
            value: Some(value),
        };
        self.write(clock, step, What::Summary(Summary { value: vec![value] }))
    }

    fn write(&mut self, wall_time: f64, step: usize, what: What) -> Result<()> {
        let event = Event {
            wall_time,
            step: i64::try_from(step).context("TensorBoard events: the step is too large")?,
            what: Some(what),
        };
        self.pending.extend(record(&event.encode_to_vec()));
        Ok(())
    }
}

impl Drop for EventWriter {
    fn drop(&mut self) {
        // Who wants to know calls `flush`.
        let _ = self.flush();
    }
}

/// Width, height and number of channels of a PNG file, read from its first chunk.
fn png_header(png: &[u8]) -> Option<(i32, i32, i32)> {
    let header = png.strip_prefix(b"\x89PNG\r\n\x1a\n")?.get(8..18)?;
    let side = |at: usize| {
        i32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let channels = match header[9] {
        0 => 1,
        // A palette decodes to RGB.
        2 | 3 => 3,
        4 => 2,
        6 => 4,
        _ => return None,
    };
    Some((side(0), side(4), channels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_none_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(EventWriter::create(folder.path(), f64::NAN).is_err());
    }

    #[test]
    fn a_file_is_named_after_all_others_and_replaces_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut names = Vec::new();
        for clock in [1_700_000_000.5, 1_700_000_000.9, 1_600_000_000.0] {
            let writer = EventWriter::create(folder.path(), clock).expect("a file");
            names.push(writer.path().to_owned());
        }
        let ends = ["1700000000.rpo", "1700000001.rpo", "1700000002.rpo"];
        for (name, end) in names.iter().zip(ends) {
            assert!(name.to_string_lossy().ends_with(end), "{name:?}");
        }
    }
}
