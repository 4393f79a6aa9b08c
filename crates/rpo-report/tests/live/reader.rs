//! A second reader of event files, written from TensorFlow's `.proto` files: it shares no code with the writer.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// An event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) clock: f64,
    pub(crate) step: u64,
    pub(crate) what: What,
}

/// What an event says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum What {
    Version(String),
    Restart,
    Number(String, f32),
    Picture(String, Vec<u8>),
}

/// The events of one file, up to the first record that is cut.
pub(crate) fn events(path: &Path) -> Vec<Event> {
    let bytes = fs::read(path).expect("an event file");
    let (mut at, mut events) = (0, Vec::new());
    while let Some(head) = bytes.get(at..at + 12) {
        let length = u64::from_le_bytes(head[..8].try_into().expect("eight")) as usize;
        let Some(data) = bytes.get(at + 12..at + 12 + length) else {
            break;
        };
        if bytes.len() < at + 16 + length {
            break;
        }
        events.push(event(data));
        at += 16 + length;
    }
    events
}

/// What TensorBoard has of a folder at its end, by tag and step: it reads files by name, and forgets what a restart replaces.
pub(crate) fn shown(folder: &Path) -> BTreeMap<(String, u64), Event> {
    let mut paths: Vec<_> = fs::read_dir(folder)
        .expect("a folder")
        .map(|e| e.expect("an entry").path())
        .collect();
    paths.sort();
    let mut shown = BTreeMap::new();
    for event in paths.iter().flat_map(|path| events(path)) {
        let tag = match &event.what {
            What::Version(_) => continue,
            What::Restart => {
                shown.retain(|(_, step): &(String, u64), _| *step < event.step);
                continue;
            }
            What::Number(tag, _) | What::Picture(tag, _) => tag.clone(),
        };
        let before = shown.insert((tag, event.step), event);
        assert_eq!(before, None, "told twice");
    }
    shown
}

fn event(data: &[u8]) -> Event {
    let (mut clock, mut step, mut what) = (None, 0, None);
    for (field, value) in fields(data) {
        match (field, value) {
            (1, Value::Fixed64(bits)) => clock = Some(f64::from_bits(bits)),
            (2, Value::Varint(n)) => step = n,
            (3, Value::Bytes(text)) => what = Some(What::Version(utf8(text))),
            (5, Value::Bytes(summary)) => what = Some(value_of(summary)),
            (7, Value::Bytes(log)) => {
                assert_eq!(fields(log), [(1, Value::Varint(1))], "START");
                what = Some(What::Restart);
            }
            other => panic!("field {other:?} of an event"),
        }
    }
    Event {
        clock: clock.expect("a time"),
        step,
        what: what.expect("something is told"),
    }
}

/// The only value of a summary.
fn value_of(summary: &[u8]) -> What {
    let [(1, Value::Bytes(value))] = fields(summary)[..] else {
        panic!("a summary of one value");
    };
    let [(1, Value::Bytes(tag)), (kind, what)] = fields(value)[..] else {
        panic!("a tag and a value");
    };
    match (kind, what) {
        (2, Value::Fixed32(bits)) => What::Number(utf8(tag), f32::from_bits(bits)),
        (4, Value::Bytes(image)) => {
            let png = fields(image).into_iter().find(|(field, _)| *field == 4);
            let Some((_, Value::Bytes(png))) = png else {
                panic!("a picture");
            };
            What::Picture(utf8(tag), png.to_vec())
        }
        other => panic!("value {other:?}"),
    }
}

fn utf8(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// The fields of a protocol buffer.
fn fields(mut data: &[u8]) -> Vec<(u64, Value<'_>)> {
    let mut all = Vec::new();
    while !data.is_empty() {
        let key = varint(&mut data);
        let value = match key & 7 {
            0 => Value::Varint(varint(&mut data)),
            1 => Value::Fixed64(u64::from_le_bytes(
                take(&mut data, 8).try_into().expect("8"),
            )),
            5 => Value::Fixed32(u32::from_le_bytes(
                take(&mut data, 4).try_into().expect("4"),
            )),
            2 => {
                let length = varint(&mut data) as usize;
                Value::Bytes(take(&mut data, length))
            }
            other => panic!("wire type {other}"),
        };
        all.push((key >> 3, value));
    }
    all
}

fn varint(data: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = take(data, 1)[0];
        value |= u64::from(byte & 127) << shift;
        if byte < 128 {
            return value;
        }
        shift += 7;
    }
}

fn take<'a>(data: &mut &'a [u8], n: usize) -> &'a [u8] {
    let (taken, rest) = data.split_at(n);
    *data = rest;
    taken
}
