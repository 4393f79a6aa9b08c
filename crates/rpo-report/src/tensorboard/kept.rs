//! What the event files of a folder hold.

use super::event::{Event, START, Value, What};
use super::record::take;
use anyhow::Result;
use prost::Message;
use rpo_files::AtPath;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

const PREFIX: &str = "events.out.tfevents.";
const SUFFIX: &str = ".rpo";

/// The largest number of a name, in seconds since 1970 the year 2286: names of ten digits are in the order of their numbers.
pub(super) const LARGEST: u64 = 9_999_999_999;

/// Name of the file with this number.
pub(super) fn name(number: u64) -> String {
    format!("{PREFIX}{number:010}{SUFFIX}")
}

/// The number in the name of an event file, written by any program.
pub(super) fn number(name: &OsStr) -> Option<u64> {
    let rest = name.to_str()?.strip_prefix(PREFIX)?;
    let number = rest.split('.').next()?.parse().ok();
    number.filter(|number| *number < LARGEST)
}

/// What a reader of a folder of event files has at its end: restarts are followed, and a record that a kill cut ends its file.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// By tag and step: the time, and the number; `None` for pictures.
    told: BTreeMap<(String, usize), (f64, Option<f32>)>,
    clock: f64,
}

impl Kept {
    /// Reads the files that [`EventWriter`](super::EventWriter) wrote in `dir`; others are left alone.
    ///
    /// # Errors
    /// I/O errors; a missing folder is none.
    pub fn read(dir: &Path) -> Result<Self> {
        let mut kept = Self::default();
        let entries = match fs::read_dir(dir) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(kept),
            entries => entries.reading(dir)?,
        };
        let mut names: Vec<_> = entries
            .flatten()
            .filter(|e| e.file_type().is_ok_and(|kind| kind.is_file()))
            .map(|e| e.file_name())
            .filter(|n| number(n).is_some() && n.to_string_lossy().ends_with(SUFFIX))
            .collect();
        names.sort();
        for name in names {
            let path = dir.join(name);
            let bytes = fs::read(&path).reading(&path)?;
            let mut rest = bytes.as_slice();
            while let Some(event) = take(&mut rest).and_then(|data| Event::decode(data).ok()) {
                kept.follow(event);
            }
        }
        Ok(kept)
    }

    fn follow(&mut self, event: Event) {
        let clock = event.wall_time;
        let Ok(step) = usize::try_from(event.step) else {
            return;
        };
        // Not written here.
        if !(0.0..LARGEST as f64).contains(&clock) {
            return;
        }
        self.clock = self.clock.max(clock);
        match event.what {
            Some(What::SessionLog(log)) if log.status == START => {
                self.told.retain(|(_, of), _| *of < step);
            }
            Some(What::Summary(summary)) => {
                for value in summary.value {
                    let number = match value.value {
                        Some(Value::Simple(number)) => Some(number),
                        _ => None,
                    };
                    self.told.insert((value.tag, step), (clock, number));
                }
            }
            _ => {}
        }
    }

    /// When this number was told under `tag` at `step`, to the bit; `None` if it was not.
    #[must_use]
    pub fn number(&self, tag: &str, step: usize, number: f64) -> Option<f64> {
        let (clock, told) = self.told.get(&(tag.to_owned(), step))?;
        let same = told.is_some_and(|told| told.to_bits() == (number as f32).to_bits());
        same.then_some(*clock)
    }

    /// When a picture was told under `tag` at `step`.
    #[must_use]
    pub fn picture(&self, tag: &str, step: usize) -> Option<f64> {
        let (clock, told) = self.told.get(&(tag.to_owned(), step))?;
        told.is_none().then_some(*clock)
    }

    /// The time of the latest event; 0 without one.
    #[must_use]
    pub fn clock(&self) -> f64 {
        self.clock
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensorboard::event::{SessionLog, Summary, SummaryValue};

    fn number_event(wall_time: f64, step: i64, number: f32) -> Event {
        let value = SummaryValue {
            tag: "a".into(),
            value: Some(Value::Simple(number)),
        };
        Event {
            wall_time,
            step,
            what: Some(What::Summary(Summary { value: vec![value] })),
        }
    }

    #[test]
    fn restarts_are_followed_and_impossible_events_passed_over() {
        let mut kept = Kept::default();
        for event in [
            number_event(5.0, 1, 0.1),
            number_event(6.0, 2, f32::NAN),
            number_event(7.0, 3, 0.3),
            number_event(f64::NAN, 4, 0.4),
            number_event(f64::INFINITY, 4, 0.4),
            number_event(8.0, -4, 0.4),
            Event {
                wall_time: 9.0,
                step: 3,
                what: Some(What::SessionLog(SessionLog { status: START })),
            },
        ] {
            kept.follow(event);
        }
        assert_eq!(kept.number("a", 1, 0.1), Some(5.0));
        assert_eq!(kept.number("a", 1, 0.2), None);
        assert_eq!(kept.number("a", 2, f64::NAN), Some(6.0));
        assert_eq!(kept.picture("a", 1), None);
        assert_eq!((kept.told.len(), kept.clock()), (2, 9.0));
    }

    #[test]
    fn numbers_are_those_of_names_that_stay_in_order() {
        let of = |name: &str| number(OsStr::new(name));
        assert_eq!(of(&name(17)), Some(17));
        assert_eq!(
            of("events.out.tfevents.1700000000.host.12.0"),
            Some(1_700_000_000)
        );
        for other in [
            "events.out.tfevents.",
            "notes",
            "events.out.tfevents.99999999999.rpo",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
