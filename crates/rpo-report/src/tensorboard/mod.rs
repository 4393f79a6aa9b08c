//! TensorBoard event files: scalars and pictures.
//!
//! An event file is a sequence of TFRecords, each a protocol buffer `tensorflow.Event`
//! (`tensorflow/core/util/event.proto`, `tensorflow/core/framework/summary.proto`). Nothing here reads a
//! clock: the caller gives all times, in seconds since 1970, so that the same run writes the same bytes.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use prost::Message;

/// The fields of `tensorflow.Event` that are written here.
#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<SummaryValue>,
}

/// `tensorflow.Summary.Value`.
#[derive(Clone, PartialEq, Message)]
struct SummaryValue {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(oneof = "Value", tags = "2, 4")]
    value: Option<Value>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Value {
    #[prost(float, tag = "2")]
    Simple(f32),
    #[prost(message, tag = "4")]
    Image(Image),
}

/// `tensorflow.Summary.Image`.
#[derive(Clone, PartialEq, Message)]
struct Image {
    #[prost(int32, tag = "1")]
    height: i32,
    #[prost(int32, tag = "2")]
    width: i32,
    /// 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA.
    #[prost(int32, tag = "3")]
    colorspace: i32,
    #[prost(bytes = "vec", tag = "4")]
    encoded: Vec<u8>,
}

/// Writes one event file.
///
/// Events may come in any order of steps. They are on disk after [`EventWriter::flush`], which rewrites the whole file
/// atomically: readers see the old file or the new one.
pub struct EventWriter {
    bytes: Vec<u8>,
    path: PathBuf,
}

impl EventWriter {
    /// Starts `events.out.tfevents.<clock>.rpo` in `dir`, which is created with the file. A file of that
    /// name is replaced; files of other clocks stay, and TensorBoard shows them together.
    ///
    /// # Errors
    /// If `clock` is not a valid time.
    pub fn create(dir: &Path, clock: f64) -> Result<Self> {
        if !clock.is_finite() || clock < 0.0 {
            bail!("TensorBoard events: {clock} is no time in seconds since 1970");
        }
        let path = dir.join(format!("events.out.tfevents.{:010}.rpo", clock as u64));
        let mut writer = Self {
            bytes: Vec::new(),
            path,
        };
        writer.write(clock, 0, What::FileVersion("brain.Event:2".into()))?;
        Ok(writer)
    }

    /// Path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a number under `tag`, e.g. `owl/l_sim`; a slash makes a group of charts.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn scalar(&mut self, tag: &str, step: usize, value: f64, clock: f64) -> Result<()> {
        // The format has single precision; NaN is allowed and shown as a gap.
        self.summary(tag, step, Value::Simple(value as f32), clock)
    }

    /// Writes a picture under `tag`, given as the bytes of a PNG file.
    ///
    /// # Errors
    /// When the bytes are no PNG file, or the file cannot be written.
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

    /// Writes all events so far to disk.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        rpo_files::output::write(&self.path, &self.bytes)
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
        self.bytes.extend(record(&event.encode_to_vec()));
        Ok(())
    }
}

/// A TFRecord: length, its checksum, data, its checksum, all little-endian.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(data.len() + 16);
    record.extend(length);
    record.extend(masked_crc(&length).to_le_bytes());
    record.extend(data);
    record.extend(masked_crc(data).to_le_bytes());
    record
}

/// CRC-32C, rotated and offset, so that it stays reliable for data that contains checksums.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli): reflected polynomial 0x82f63b78, start and end inverted.
fn crc32c(data: &[u8]) -> u32 {
    !data.iter().fold(!0u32, |crc, &byte| {
        (crc >> 8) ^ CRC_TABLE[usize::from((crc as u8) ^ byte)]
    })
}

/// Remainder of each byte.
const CRC_TABLE: [u32; 256] = {
    let mut table = [0u32; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

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
    fn crc32c_of_known_strings() {
        // RFC 3720, B.4.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }

    #[test]
    fn a_clock_that_is_none_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(EventWriter::create(folder.path(), f64::NAN).is_err());
    }
}
