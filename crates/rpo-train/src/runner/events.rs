//! TensorBoard events of a training while it runs. A by-product: what cannot be written is told once and stops nothing.

use crate::progress::Progress;
use anyhow::Result;
use rpo_experiment::plan::{Cell, Plan};
use rpo_experiment::run::{Record, Run};
use rpo_report::collect::CellEvents;
use std::time::{Duration, Instant, SystemTime};

/// Time between two writes, while no validation causes one.
const BETWEEN: Duration = Duration::from_secs(20);

/// The events of one start of a training.
pub(super) struct Events<'a> {
    cell: &'a Cell,
    file: Option<CellEvents<'a>>,
    flushed: Instant,
}

impl<'a> Events<'a> {
    /// Begins them after `records`, which are the record so far.
    pub(super) fn begin(
        run: &Run,
        plan: &'a Plan,
        cell: &'a Cell,
        records: &[Record],
        progress: &Progress,
    ) -> Self {
        let mut events = Self {
            cell,
            file: None,
            flushed: Instant::now(),
        };
        let begun = CellEvents::begin(run, plan, cell, records, now());
        events.file = events.or_told(begun, progress);
        events
    }

    /// Tells a record that is saved, or will be trained again after a kill.
    pub(super) fn tell(&mut self, record: &Record, progress: &Progress) {
        let told = self.file.as_mut().map(|file| file.tell(record, now()));
        self.end_if_failed(told, progress);
        if self.flushed.elapsed() >= BETWEEN {
            self.flush(progress);
        }
    }

    /// Writes what was told.
    pub(super) fn flush(&mut self, progress: &Progress) {
        self.flushed = Instant::now();
        let written = self.file.as_mut().map(CellEvents::flush);
        self.end_if_failed(written, progress);
    }

    fn end_if_failed(&mut self, done: Option<Result<()>>, progress: &Progress) {
        if let Some(failed @ Err(_)) = done {
            self.file = None;
            self.or_told(failed, progress);
        }
    }

    fn or_told<T>(&self, done: Result<T>, progress: &Progress) -> Option<T> {
        let told = |e| {
            progress.line(&format!(
                "{}: TensorBoard events: {e:#}\n  training goes on without them; the next start or the report writes them",
                self.cell.id
            ));
        };
        done.map_err(told).ok()
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0.0, |d| d.as_secs_f64())
}
